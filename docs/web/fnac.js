// Feeds a network that fnac emitted and reads its answers, as example.py does in Python.
// An image is {width, height, data}: data holds RGB, 3 bytes a pixel.

/** Return the input of the network: {data, dims}, as the contract's `input` says. */
export function prepare(image, wanted) {
  const fitted = fit(image, wanted);
  let [height, width] = [fitted.height, fitted.width];
  if (wanted.resize === "letterbox") [height, width] = wanted.size;
  if (wanted.resize === "sides") [height, width] = [height, width].map((side) => Math.ceil(side / 32) * 32);
  const raw = wanted.dtype === "uint8";
  const [low, high] = wanted.range;
  const scale = wanted.std.map((std) => Math.fround((high - low) / (255 * std)));
  const shift = wanted.std.map((std, c) => Math.fround((low - wanted.mean[c]) / std));
  const last = wanted.layout === "NHWC";
  const data = raw ? new Uint8Array(3 * height * width) : new Float32Array(3 * height * width);
  const place = (y, x, c) => (last ? (y * width + x) * 3 + c : (c * height + y) * width + x);
  if (raw && wanted.pad) {
    for (let i = 0; i < height * width; i++) for (let c = 0; c < 3; c++) data[3 * i + c] = wanted.pad[c];
  }
  for (let y = 0; y < fitted.height; y++) {
    for (let x = 0; x < fitted.width; x++) {
      for (let c = 0; c < 3; c++) {
        const pixel = fitted.data[(y * fitted.width + x) * 3 + (wanted.color === "BGR" ? 2 - c : c)];
        data[place(y, x, c)] = raw ? pixel : Math.fround(pixel * scale[c]) + shift[c];
      }
    }
  }
  return { data, dims: last ? [1, height, width, 3] : [1, 3, height, width] };
}

/** Return the image resized as the contract says, not filled up yet. */
export function fit(image, wanted) {
  const [height, width] = wanted.size;
  if (wanted.resize === "window") return person(image, wanted);
  let part = image;
  if (wanted.resize === "crop") {
    const columns = Math.max(1, Math.min(image.width, round((image.height * width) / height)));
    const rows = Math.max(1, Math.min(image.height, round((image.width * height) / width)));
    part = cut(image, (image.width - columns) >> 1, (image.height - rows) >> 1, columns, rows);
  }
  const [rows, columns] = scaled(image, wanted);
  return resize(part, columns, rows);
}

/** Return [rows, columns] that the image is resized to. */
export function scaled(image, wanted) {
  const [height, width] = wanted.size;
  let factor;
  if (wanted.resize === "letterbox") factor = Math.min(height / image.height, width / image.width);
  else if (wanted.resize === "sides") {
    const [short, long] = [...wanted.sides].sort((a, b) => a - b);
    factor = Math.min(
      short / Math.min(image.height, image.width),
      long / Math.max(image.height, image.width)
    );
  } else return [height, width];
  return [Math.max(1, round(image.height * factor)), Math.max(1, round(image.width * factor))];
}

/** Resize bilinearly with antialiasing, in the arithmetic of Pillow. */
export function resize(image, width, height) {
  if (width === image.width && height === image.height) return image;
  const across = width === image.width ? image : pass(image, width, true);
  return height === image.height ? across : pass(across, height, false);
}

// One axis: a triangle as wide as the step, in integers of 22 fractional bits, rounded to bytes.
function pass(image, size, horizontal) {
  const PRECISION = 22;
  const from = horizontal ? image.width : image.height;
  const other = horizontal ? image.height : image.width;
  const made = {
    width: horizontal ? size : image.width,
    height: horizontal ? image.height : size,
    data: new Uint8Array(3 * size * other),
  };
  const step = from / size;
  const reach = Math.max(step, 1);
  for (let out = 0; out < size; out++) {
    const centre = (out + 0.5) * step;
    const first = Math.max(0, Math.trunc(centre - reach + 0.5));
    const end = Math.min(from, Math.trunc(centre + reach + 0.5));
    const weights = [];
    for (let i = first; i < end; i++) weights.push(Math.max(0, 1 - Math.abs((i - centre + 0.5) / reach)));
    const sum = weights.reduce((a, b) => a + b, 0);
    const whole = weights.map((w) => Math.trunc((w / sum) * 2 ** PRECISION + 0.5));
    for (let line = 0; line < other; line++) {
      for (let c = 0; c < 3; c++) {
        let value = 2 ** (PRECISION - 1);
        for (let k = 0; k < whole.length; k++) {
          const [x, y] = horizontal ? [first + k, line] : [line, first + k];
          value += image.data[(y * image.width + x) * 3 + c] * whole[k];
        }
        const [x, y] = horizontal ? [out, line] : [line, out];
        made.data[(y * made.width + x) * 3 + c] = Math.max(0, Math.min(255, Math.floor(value / 2 ** PRECISION)));
      }
    }
  }
  return made;
}

// The whole image is one person: it fills the input, its shape stays; bilinear.
function person(image, wanted) {
  const [height, width] = wanted.size;
  const step = Math.max(image.width / width, image.height / height);
  const block = Math.max(1, Math.trunc(step));
  const small = block > 1 ? reduce(image, block) : image;
  const [low, high] = wanted.range;
  const mean = wanted.mean.map((value) => (255 * (value - low)) / (high - low));
  const pad = (wanted.pad ?? mean).map(round);
  if (wanted.color === "BGR") pad.reverse();
  const made = { width, height, data: new Uint8Array(3 * width * height) };
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const u = (image.width / 2 + step * (x + 0.5 - width / 2)) / block;
      const v = (image.height / 2 + step * (y + 0.5 - height / 2)) / block;
      const outside = u < 0 || v < 0 || u >= small.width || v >= small.height;
      for (let c = 0; c < 3; c++) {
        made.data[(y * width + x) * 3 + c] = outside ? pad[c] : between(small, u - 0.5, v - 0.5, c);
      }
    }
  }
  return made;
}

function between(image, u, v, c) {
  const [x, y] = [Math.floor(u), Math.floor(v)];
  const at = (column, row) => {
    const clipped = [Math.min(image.width - 1, Math.max(0, column)), Math.min(image.height - 1, Math.max(0, row))];
    return image.data[(clipped[1] * image.width + clipped[0]) * 3 + c];
  };
  const [a, b] = [y, y + 1].map((row) => at(x, row) + (at(x + 1, row) - at(x, row)) * (u - x));
  return Math.trunc(a + (b - a) * (v - y));
}

function reduce(image, block) {
  const made = { width: Math.ceil(image.width / block), height: Math.ceil(image.height / block) };
  made.data = new Uint8Array(3 * made.width * made.height);
  for (let y = 0; y < made.height; y++) {
    for (let x = 0; x < made.width; x++) {
      for (let c = 0; c < 3; c++) {
        let [sum, count] = [0, 0];
        for (let row = y * block; row < Math.min(image.height, (y + 1) * block); row++) {
          for (let column = x * block; column < Math.min(image.width, (x + 1) * block); column++) {
            sum += image.data[(row * image.width + column) * 3 + c];
            count++;
          }
        }
        made.data[(y * made.width + x) * 3 + c] = round(sum / count);
      }
    }
  }
  return made;
}

function cut(image, left, top, width, height) {
  const data = new Uint8Array(3 * width * height);
  for (let y = 0; y < height; y++) {
    const start = ((top + y) * image.width + left) * 3;
    data.set(image.data.subarray(start, start + 3 * width), 3 * y * width);
  }
  return { width, height, data };
}

/** Turn outputs (name -> {data, dims}) into labels, boxes, keypoints or classes of the image. */
export function read(outputs, image, contract) {
  const names = contract.classes ?? contract.joints;
  const name = (i) => (names ? names[i] : String(i));
  if (outputs.boxes) return { boxes: boxes(outputs, image, contract, name) };
  if (outputs.labels) {
    const [, rows, columns] = outputs.labels.dims.map(Number);
    const labels = new Int32Array(image.width * image.height);
    for (let y = 0; y < image.height; y++) {
      const row = Math.floor(((2 * y + 1) * rows) / (2 * image.height));
      for (let x = 0; x < image.width; x++) {
        const column = Math.floor(((2 * x + 1) * columns) / (2 * image.width));
        labels[y * image.width + x] = Number(outputs.labels.data[row * columns + column]);
      }
    }
    return { labels, names, colours: contract.colours ?? [] };
  }
  if (outputs.keypoints) {
    const [height, width] = contract.input.size;
    const step = Math.max(image.width / width, image.height / height);
    const keypoints = Array.from(outputs.scores.data, (score, i) => ({
      name: name(i),
      x: (outputs.keypoints.data[2 * i] + 0.5 - width / 2) * step + image.width / 2 - 0.5,
      y: (outputs.keypoints.data[2 * i + 1] + 0.5 - height / 2) * step + image.height / 2 - 0.5,
      score,
    }));
    return { keypoints, limbs: contract.limbs };
  }
  const logits = Array.from(Object.values(outputs)[0].data);
  const highest = Math.max(...logits);
  const shares = logits.map((value) => Math.exp(value - highest));
  const sum = shares.reduce((a, b) => a + b, 0);
  const classes = shares.map((share, id) => ({ id, name: name(id), probability: share / sum }));
  return { classes: classes.sort((a, b) => b.probability - a.probability).slice(0, 5) };
}

function boxes(outputs, image, contract, name) {
  const [rows, columns] = scaled(image, contract.input);
  const scale = [image.width / columns, image.height / rows];
  const edge = [image.width, image.height];
  const found = [];
  Array.from(outputs.labels.data, Number).forEach((id, i) => {
    if (id < 0) return;
    const box = [0, 1, 2, 3].map((k) =>
      Math.min(edge[k % 2], Math.max(0, outputs.boxes.data[4 * i + k] * scale[k % 2]))
    );
    found.push({ box, score: outputs.scores.data[i], id, name: name(id) });
  });
  return found;
}

// As Python: halves go to the even number.
function round(value) {
  const low = Math.floor(value);
  return value - low === 0.5 ? low + (low % 2) : Math.round(value);
}

/** Run the network of an onnxruntime-web session on an image. */
export async function run(ort, session, image, contract) {
  const { data, dims } = prepare(image, contract.input);
  const fed = new ort.Tensor(contract.input.dtype, data, dims);
  const outputs = await session.run({ [contract.input.name]: fed });
  return read(outputs, image, contract);
}
