"""The report: one HTML page that holds everything, and asks nothing of any network.

Charts are Plotly's, from the JavaScript that the Python package carries. The other candidate was Vega through Altair:
smaller (0.8 MB against 4.8), but its inlined form comes only with a native converter of 30 MB, it can't swap the curve
under a picked token without rebuilding the view, and hover, zoom and legend need to be specified where Plotly has them.
What speaks against Plotly, its weight, is met by storing library and data compressed (the browser unpacks them in some
50 ms): 2 MB a page before any data.

A content security policy in the page forbids every request, so that it stays private wherever it is opened.

Table of contents:
    write_report: runs in, page out.
    chosen: which tokens the page holds, where there are more than fit.
    payload: all that the page shows, as plain values. pack: as bytes.
    page: the HTML. The script and the style stand in the files beside it.
"""

from curvewatch.analysis.report.page import write_report

__all__ = ["write_report"]
