// The colours of a terminal, made readable on the log's dark ground.

/** The log's ground, as dark as its lighter variant. */
const GROUND = [28, 35, 38];
/** WCAG AA. */
const CONTRAST = 4.5;
const STEPS = [0, 95, 135, 175, 215, 255];

/** Colour 16 to 255 of the palette as [red, green, blue]; the first sixteen have names, and classes. */
export function palette(index) {
  if (index >= 232) return Array(3).fill(8 + 10 * (index - 232));
  const place = index - 16;
  return [STEPS[Math.floor(place / 36)], STEPS[Math.floor(place / 6) % 6], STEPS[place % 6]];
}

/** A colour made of numbers that a stranger wrote; null when they are none. */
export function colour(parts) {
  const fits = parts.length === 3 && parts.every((part) => Number.isInteger(part) && part >= 0 && part <= 255);
  return fits ? parts : null;
}

/** The colour of text, moved towards white or black until it can be read on its ground. */
export function readable(text, ground = GROUND) {
  const target = luminance(ground) > 0.18 ? 0 : 255;
  for (let share = 0; share < 1; share += 0.1) {
    const mixed = text.map((part) => Math.round(part + (target - part) * share));
    if (contrast(mixed, ground) >= CONTRAST) return mixed;
  }
  return Array(3).fill(target);
}

export function css([red, green, blue]) {
  return `rgb(${red} ${green} ${blue})`;
}

function contrast(one, other) {
  const [low, high] = [luminance(one), luminance(other)].sort((a, b) => a - b);
  return (high + 0.05) / (low + 0.05);
}

function luminance(parts) {
  const [red, green, blue] = parts.map((part) => {
    const value = part / 255;
    return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}
