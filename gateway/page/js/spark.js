// Sparklines: the last minute of a tag, drawn on a small canvas.

import { colour } from "./theme.js";

const WIDTH = 96;
const HEIGHT = 22;
const SPAN_MS = 60000;

/** Draw a ring of points up to now; gaps where there is no value. */
export function drawSpark(canvas, ring, nowMs) {
  const ratio = window.devicePixelRatio || 1;
  if (canvas.width !== WIDTH * ratio) {
    canvas.width = WIDTH * ratio;
    canvas.height = HEIGHT * ratio;
  }
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, canvas.width, canvas.height);
  if (!ring?.length) return;
  let low = Infinity;
  let high = -Infinity;
  ring.each((time, value) => {
    if (time < nowMs - SPAN_MS || Number.isNaN(value)) return;
    low = Math.min(low, value);
    high = Math.max(high, value);
  });
  if (low > high) return;
  const span = high - low || 1;
  const middle = high === low ? 0.5 : 0;
  context.strokeStyle = colour("--accent");
  context.lineWidth = 1.2 * ratio;
  context.lineJoin = "round";
  context.beginPath();
  let isDown = false;
  ring.each((time, value) => {
    if (time < nowMs - SPAN_MS || Number.isNaN(value)) { isDown = false; return; }
    const x = (1 - (nowMs - time) / SPAN_MS) * canvas.width;
    const y = (0.9 - 0.8 * ((value - low) / span + middle)) * canvas.height;
    if (isDown) context.lineTo(x, y); else context.moveTo(x, y);
    isDown = true;
  });
  context.stroke();
}
