/* Two images to compare: one over the other where they are of one size, else side by side; and their difference. */

const TIMES = 10;
let latest = 0;
const part = (id) => document.getElementById(id);

async function loaded(image, url) {
  image.src = url;
  await image.decode();
}

function pixels(image) {
  const canvas = new OffscreenCanvas(image.naturalWidth, image.naturalHeight);
  const context = canvas.getContext("2d");
  context.fillStyle = "#fff";  // as the service sees what is transparent
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(image, 0, 0);
  return context.getImageData(0, 0, canvas.width, canvas.height);
}

function drawDifference() {
  const [before, after] = [pixels(part("before")), pixels(part("after"))];
  for (let at = 0; at < after.data.length; at += 1) {
    if (at % 4 !== 3) after.data[at] = 128 + TIMES * (after.data[at] - before.data[at]);
  }
  const canvas = part("difference");
  canvas.width = after.width;
  canvas.height = after.height;
  canvas.getContext("2d").putImageData(after, 0, 0);
}

/* Show two images, unless others are to be shown before they are there. */
export async function compare(beforeUrl, afterUrl) {
  const [before, after] = [part("before"), part("after")];
  const mine = (latest += 1);
  try {
    await Promise.all([loaded(before, beforeUrl), loaded(after, afterUrl)]);
  } catch (error) {
    if (mine === latest) throw error;
  }
  if (mine !== latest) return;
  const alike = before.naturalWidth === after.naturalWidth && before.naturalHeight === after.naturalHeight;
  part("stage").classList.toggle("over", alike);
  part("slider-row").hidden = !alike;
  part("sides").hidden = alike;
  part("show-difference").disabled = !alike;
  if (!alike) part("show-difference").checked = false;
  showDifference();
}

function showDifference() {
  const wanted = part("show-difference").checked;
  if (wanted) drawDifference();
  part("difference").hidden = !wanted;
  part("stage").classList.toggle("differs", wanted);
}

part("slider").addEventListener("input", (event) => part("stage").style.setProperty("--cut", `${event.target.value}%`));
part("show-difference").addEventListener("change", showDifference);
part("enlarge").addEventListener("change", (event) => part("stage").classList.toggle("whole", event.target.checked));
