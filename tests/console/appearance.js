() => {
  // Looks at the page as it is shown and returns what is wrong with it, in words.
  const wrong = [];
  const page = document.documentElement;
  if (page.scrollWidth > page.clientWidth) wrong.push(`the page is ${page.scrollWidth - page.clientWidth} px too wide`);

  const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const rgba = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return canvas.getImageData(0, 0, 1, 1).data;
  };
  const light = (colour) => {
    const [r, g, b] = [...colour].map((part) => (part /= 255) <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (element) => {
    for (let one = element; one; one = one.parentElement) {
      const colour = rgba(getComputedStyle(one).backgroundColor);
      if (colour[3] === 255) return colour;
    }
    return rgba("white");
  };
  let texts = 0;
  for (const element of document.body.querySelectorAll("*")) {
    const own = [...element.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim());
    if (!own || !element.checkVisibility() || element.closest(".skip") || element.disabled) continue;
    texts += 1;
    const [one, other] = [light(rgba(getComputedStyle(element).color)), light(ground(element))].sort((a, b) => b - a);
    const contrast = (one + 0.05) / (other + 0.05);
    if (contrast < 4.5) wrong.push(`contrast ${contrast.toFixed(2)} of "${element.textContent.trim().slice(0, 40)}"`);
  }
  if (texts < 5) wrong.push(`only ${texts} texts were looked at`);

  for (const element of document.querySelectorAll("button, input, select, a")) {
    if (!element.checkVisibility()) continue;
    const name = element.getAttribute("aria-label") || element.textContent.trim() || element.labels?.[0]?.textContent.trim();
    if (!name) wrong.push(`no name: ${element.outerHTML.slice(0, 80)}`);
    const { height } = element.getBoundingClientRect();
    if (element.matches("button") && height < 24) wrong.push(`${name} is only ${height} px high`);
  }
  const foreign = performance.getEntriesByType("resource").map((one) => one.name).filter((url) => new URL(url).origin !== location.origin);
  return [...wrong, ...foreign.map((url) => `from elsewhere: ${url}`)];
}
