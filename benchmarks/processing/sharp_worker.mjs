// The same job with sharp: node sharp_worker.mjs <usual|best> <repeats> <file>…
// Prints a line of JSON a file, like worker.py.
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import sharp from "sharp";

const [, , contestant, repeats, ...files] = process.argv;
sharp.cache(false);
sharp.concurrency(1);
const small = (side) => ({ width: side, height: side, fit: "inside", withoutEnlargement: true });
const encode = (image, transparent) => (transparent ? image.webp({ quality: 80, effort: 2 }) : image.jpeg({ quality: 80 })).toBuffer();

const cosines = Array.from({ length: 8 }, (_, u) => Float64Array.from({ length: 32 }, (_, x) => Math.cos((Math.PI * (2 * x + 1) * u) / 64)));

function perceptualHash(pixels) {
  const rows = Array.from({ length: 32 }, (_, y) => cosines.map((c) => c.reduce((sum, v, x) => sum + v * pixels[y * 32 + x], 0)));
  const frequencies = cosines.flatMap((c) => Array.from({ length: 8 }, (_, u) => c.reduce((sum, v, y) => sum + v * rows[y][u], 0)));
  const median = [...frequencies.slice(1)].sort((a, b) => a - b)[31];
  return frequencies.reduce((bits, f) => (bits << 1n) | BigInt(f > median), 0n).toString(16);
}

const measure = async (image) => {
  perceptualHash(await image.clone().greyscale().resize(32, 32, { fit: "fill" }).raw().toBuffer());
  await image.clone().stats(); // dominant colour, means, sharpness
};

// As people write it: a pipeline from the file for every derivative.
async function usual(content) {
  createHash("sha256").update(content).digest("hex");
  const { hasAlpha } = await sharp(content).metadata();
  const transparent = hasAlpha && !(await sharp(content).stats()).isOpaque;
  await encode(sharp(content).rotate().resize(small(1024)), transparent);
  const thumb = await encode(sharp(content).rotate().resize(small(256)), transparent);
  await measure(sharp(thumb));
}

// At its best: one decode, the smaller from the larger, raw pixels between.
async function best(content) {
  createHash("sha256").update(content).digest("hex");
  await sharp(content).metadata();
  const large = await sharp(content).rotate().resize(small(1024)).raw().toBuffer({ resolveWithObject: true });
  const rawLarge = () => sharp(large.data, { raw: large.info });
  const middle = await rawLarge().resize(small(256)).raw().toBuffer({ resolveWithObject: true });
  const rawMiddle = () => sharp(middle.data, { raw: middle.info });
  const transparent = large.info.channels % 2 === 0 && !(await rawMiddle().stats()).isOpaque;
  await encode(rawLarge(), transparent);
  await encode(rawMiddle(), transparent);
  await measure(rawMiddle());
}

const job = { usual, best }[contestant];
if (job) {
  await job(readFileSync(files[0]));
  for (const file of files) {
    const content = readFileSync(file);
    let [cpu, wall] = [Infinity, Infinity];
    for (let i = 0; i < Number(repeats); i++) {
      const [startCpu, start] = [process.cpuUsage(), process.hrtime.bigint()];
      await job(content);
      wall = Math.min(wall, Number(process.hrtime.bigint() - start) / 1e9);
      const used = process.cpuUsage(startCpu);
      cpu = Math.min(cpu, (used.user + used.system) / 1e6);
    }
    const peak = /VmHWM:\s+(\d+) kB/.exec(readFileSync("/proc/self/status", "utf8")); // maxRSS would count our parent's, too
    console.log(JSON.stringify({ file, cpu, wall, peak_mb: Number(peak[1]) / 1024 }));
  }
} else {
  // "pictures": the larger derivative without loss, to compare; the second argument is a folder
  for (const [number, file] of files.entries()) {
    await sharp(file).rotate().resize(small(1024)).png({ compressionLevel: 1 }).toFile(`${repeats}/${number}.png`);
  }
}
