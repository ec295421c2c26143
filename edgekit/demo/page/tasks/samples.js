// Pictures drawn on the spot, for who has none at hand.

export const SAMPLES = {
  Sunset(draw, size) {
    const sky = draw.createLinearGradient(0, 0, 0, size);
    [["#27306b", 0], ["#d9566b", 0.55], ["#ffb45c", 1]].forEach(([colour, at]) => sky.addColorStop(at, colour));
    fill(draw, size, sky);
    disc(draw, size / 2, size * 0.62, size * 0.17, "#fff1c4");
    draw.fillStyle = "#1b1b3a";
    draw.fillRect(0, size * 0.72, size, size * 0.28);
  },
  Leaf(draw, size) {
    fill(draw, size, "#eef5e6");
    draw.fillStyle = "#3f8f3a";
    draw.beginPath();
    draw.moveTo(size * 0.2, size * 0.8);
    draw.quadraticCurveTo(size * 0.12, size * 0.2, size * 0.82, size * 0.16);
    draw.quadraticCurveTo(size * 0.84, size * 0.78, size * 0.2, size * 0.8);
    draw.fill();
    draw.strokeStyle = "#24601f";
    draw.lineWidth = size * 0.02;
    draw.beginPath();
    draw.moveTo(size * 0.12, size * 0.88);
    draw.lineTo(size * 0.72, size * 0.26);
    draw.stroke();
  },
  Fish(draw, size) {
    fill(draw, size, "#1f6fb2");
    draw.fillStyle = "#ff8a3c";
    draw.beginPath();
    draw.ellipse(size * 0.46, size * 0.5, size * 0.27, size * 0.16, 0, 0, 2 * Math.PI);
    draw.fill();
    draw.beginPath();
    draw.moveTo(size * 0.68, size * 0.5);
    draw.lineTo(size * 0.9, size * 0.33);
    draw.lineTo(size * 0.9, size * 0.67);
    draw.fill();
    disc(draw, size * 0.32, size * 0.45, size * 0.035, "#fff");
    disc(draw, size * 0.315, size * 0.45, size * 0.017, "#111");
  },
};

export function fill(draw, size, colour) {
  draw.fillStyle = colour;
  draw.fillRect(0, 0, size, size);
}

function disc(draw, x, y, radius, colour) {
  draw.fillStyle = colour;
  draw.beginPath();
  draw.arc(x, y, radius, 0, 2 * Math.PI);
  draw.fill();
}
