// Data and library are stored compressed; the browser itself unpacks them. The counterpart of pack.py.
async function inflated(id) {
  const element = document.getElementById(id);
  const text = atob(element.textContent);
  element.remove();
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).arrayBuffer();
}

function unpack(buffer) {
  const length = new DataView(buffer).getUint32(0, true);
  const plain = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  const start = 4 + length, arrays = {};
  for (const [name, { kind, shape, at }] of Object.entries(plain.arrays)) {
    const size = shape.reduce((a, b) => a * b, 1);
    if (kind === "f4") arrays[name] = new Float32Array(buffer, start + at, size);
    else if (kind === "i4") arrays[name] = new Int32Array(buffer, start + at, size);
    else if (kind === "u2") arrays[name] = new Uint16Array(buffer, start + at, size);
    else if (kind === "u1") arrays[name] = new Uint8Array(buffer, start + at, size);
    else arrays[name] = { kind, shape, bytes: new Uint8Array(buffer, start + at) };
  }
  plain.arrays = arrays;
  return plain;
}

// One curve in bits, null where there is nothing.
function curve(data, name, row) {
  const { shape: [rows, columns], bytes } = data.arrays[name];
  const values = new Array(columns), high = rows * columns;
  let sum = 0;
  for (let t = 0; t < columns; t++) {
    const at = row * columns + t;
    sum = (sum + bytes[at] + 256 * bytes[high + at]) & 65535;
    values[t] = sum === 65535 ? null : (sum - data.offset) * data.grain;
  }
  return values;
}

function truths(data, name, row) {
  const { shape: [, columns], bytes } = data.arrays[name], width = Math.ceil(columns / 8);
  return Array.from({ length: columns }, (_, t) => (bytes[row * width + (t >> 3)] >> (7 - (t & 7))) & 1);
}

function measure(data, run, name, row) {
  return data.arrays[`measures.${run}`][data.measures.indexOf(name) * data.targets.length + row];
}
