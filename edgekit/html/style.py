"""The pages' one style sheet: both schemes, narrow screens, and paper."""

from __future__ import annotations

COLOURS_LIGHT = {
    "page": "#fafbfc", "card": "#ffffff", "ink": "#171a1f", "soft": "#545d68", "line": "#e2e6ea", "track": "#e9edf1",
    "value": "#3a5bc7", "base": "#8a94a0", "estimate": "#c9d5fb", "allowed": "#d8ecdf", "good": "#14704a",
    "bad": "#b9242b", "warn": "#8a4b00", "warn-page": "#fff6e8", "good-page": "#ecf7f1", "bad-page": "#fdeeee",
    "g0": "#3a5bc7", "g1": "#0f8b8d", "g2": "#d07a1f", "g3": "#8e5bb5", "g4": "#c2477f", "g5": "#5b8c2a",
    "g6": "#7a8591", "g7": "#b3bcc6",
}  # fmt: skip
COLOURS_DARK = {
    "page": "#0f1214", "card": "#16191d", "ink": "#e9ecef", "soft": "#a4aeb9", "line": "#2a3037", "track": "#252b31",
    "value": "#8da4ff", "base": "#717c89", "estimate": "#2f3f78", "allowed": "#1f3a2d", "good": "#4cc38a",
    "bad": "#ff8f8f", "warn": "#f5b26b", "warn-page": "#2a2013", "good-page": "#12241b", "bad-page": "#2d1719",
    "g0": "#8da4ff", "g1": "#3fb8b0", "g2": "#e79a4a", "g3": "#b78ae0", "g4": "#e57aa9", "g5": "#8fbf58",
    "g6": "#8b96a3", "g7": "#59636e",
}  # fmt: skip


def _scheme(colours: dict[str, str]) -> str:
    return ";".join(f"--{name}:{value}" for name, value in colours.items())


_RULES = """
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--page);color:var(--ink);font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,
"Helvetica Neue",sans-serif;font-variant-numeric:tabular-nums;overflow-wrap:anywhere}
main{max-width:68rem;margin:0 auto;padding:clamp(1.25rem,4vw,3rem) clamp(1rem,4vw,2rem) 4rem}
h1{font-size:clamp(1.6rem,4.5vw,2.3rem);line-height:1.15;letter-spacing:-.02em;margin:.15rem 0 .35rem}
h2{font-size:1.25rem;letter-spacing:-.01em;margin:0 0 .9rem}
h3{font-size:.95rem;font-weight:600;margin:0 0 .75rem}
p{margin:0 0 .5rem}
section{margin-top:2.75rem;padding-top:1.5rem;border-top:1px solid var(--line)}
.lead{color:var(--soft);max-width:46rem;margin-bottom:1rem}h2+.lead{margin-top:-.65rem}
.eyebrow{color:var(--soft);font-size:.8rem;letter-spacing:.06em;text-transform:uppercase;margin:0}
.sub{font-size:1.05rem;color:var(--soft);margin:0 0 1.25rem}
.task{margin-left:.6rem;padding:.05rem .5rem;border:1px solid var(--line);border-radius:.3rem;font-size:.82rem}
.hidden{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);white-space:nowrap}
.good{color:var(--good)}.bad{color:var(--bad)}
.verdict{display:flex;gap:.9rem;align-items:center;padding:.9rem 1.1rem;border-radius:.7rem;max-width:46rem}
.verdict.good{background:var(--good-page)}.verdict.bad{background:var(--bad-page)}
.verdict .mark{font-size:1.7rem;line-height:1}
.verdict strong{font-size:1.15rem;text-transform:capitalize}
.verdict p,.verdict ul{margin:0;color:var(--ink)}.verdict ul{padding-left:1.1rem}
.badges{display:flex;flex-wrap:wrap;gap:.5rem;margin:.9rem 0 0}
.badge{padding:.25rem .7rem;border-radius:.5rem;font-size:.9rem;border:1px solid var(--line);color:var(--soft)}
.badge.warn{background:var(--warn-page);color:var(--warn);border-color:currentColor;font-weight:600}
.cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,11.5rem),1fr));gap:.8rem;margin-top:1.6rem}
@media(min-width:60rem){.cards{grid-template-columns:repeat(var(--columns),minmax(0,1fr))}}
.card,figure,.notice{background:var(--card);border:1px solid var(--line);border-radius:.7rem}
.card{padding:.85rem 1rem .9rem;font-size:.85rem;color:var(--soft);display:flex;flex-direction:column;gap:.15rem}
.card.bad{border-color:var(--bad);color:var(--soft)}
.card .asked{display:flex;justify-content:space-between;gap:.5rem;align-items:baseline}
.card .figure b{font-size:1.65rem;line-height:1.25;letter-spacing:-.02em;color:var(--ink)}
.card .unit{margin-left:.3rem;font-size:1rem;color:var(--soft)}
.card .strip{margin:.25rem 0 .35rem}.cards+.legend{margin-top:.7rem}
.legend{color:var(--soft);font-size:.84rem;max-width:46rem}
.state{font-size:.8rem;font-weight:600;white-space:nowrap}
.state.plain{color:var(--soft);font-weight:400}
figure{margin:0;padding:1.1rem 1.2rem 1.2rem;min-width:0}
figcaption{color:var(--soft);font-size:.85rem;margin-top:.8rem}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,25rem),1fr));gap:.8rem;align-items:start}
.charts+dl,dl+.notes{margin-top:1.2rem}
section>figure+figure,.charts+figure,section>p+figure{margin-top:.8rem}
.notice{padding:1rem 1.2rem;max-width:46rem}.notice p:last-child{margin:0}
.strip{display:block;width:100%;height:10px;border-radius:2px}
.track{fill:var(--track)}.allowed{fill:var(--allowed)}.estimate{fill:var(--estimate)}
rect.value{fill:var(--value)}rect.base{fill:var(--base)}rect.bad{fill:var(--bad)}rect.clipped{fill-opacity:.5}
line{vector-effect:non-scaling-stroke;stroke:var(--soft);stroke-width:1px}
line.limit{stroke:var(--bad);stroke-width:2px}line.middle{stroke:var(--soft)}
line.mark.limit{stroke-dasharray:5 3}line.mark.mean{stroke:var(--ink)}
line.mark.p{stroke:var(--ink);stroke-dasharray:2 2}
line.grid{stroke:var(--line)}
.plot{position:relative;border-bottom:1px solid var(--soft)}
.plot svg{display:block;width:100%;height:8.5rem;overflow:visible}.plot.low svg{height:4.2rem}
.labels{position:relative;height:calc(var(--rows)*1.15rem + .15rem);font-size:.78rem;line-height:1.15rem}
.labels span,.ticks span{position:absolute;white-space:nowrap}
.labels span{top:calc(var(--row)*1.15rem);color:var(--ink)}
.labels .limit{color:var(--bad)}
.middle{transform:translateX(-50%)}line.middle{transform:none}
.ticks{position:relative;height:1.4rem;font-size:.78rem;color:var(--soft);padding-top:.2rem}
.series{display:flex;justify-content:space-between;gap:1rem;align-items:baseline;font-size:.88rem;color:var(--soft);
margin:1rem 0 .3rem}
h3+.series,.series:first-child{margin-top:0}.series b{color:var(--ink);font-weight:600}
.series .name{flex:1}.series .number{white-space:nowrap;color:var(--ink)}
.series .number.good{color:var(--good)}.series .number.bad{color:var(--bad)}
.swatch{display:inline-block;width:.7rem;height:.7rem;border-radius:2px;margin-right:.5rem;flex:none}
.series .swatch{margin-right:-.4rem}
.swatch.value{background:var(--value)}.swatch.base{background:var(--base)}
.stats{display:grid;grid-template-columns:repeat(4,minmax(0,1fr));gap:.25rem .75rem;margin:.9rem 0 0}
.stats dt{font-size:.78rem}.stats dd{font-weight:600}
.same,.ran{margin:0 0 .5rem}.ran{margin-top:1rem}
.dotted{position:relative}
.dot{position:absolute;top:50%;width:.75rem;height:.75rem;border-radius:50%;transform:translate(-50%,-50%);
background:currentColor;border:2px solid var(--card)}
.stack .strip{height:1.6rem;border-radius:.35rem;margin-bottom:.9rem}
.share,.expects{display:flex;flex-direction:column;gap:.15rem}
table{border-collapse:collapse;width:100%;font-size:.9rem}
th,td{text-align:left;vertical-align:top;padding:.55rem .9rem .55rem 0;border-bottom:1px solid var(--line);
font-weight:400}
tbody td,thead th{overflow-wrap:break-word}.where,.plan td:last-child,.sides thead th{overflow-wrap:anywhere}
tbody th{min-width:8rem}
@media(min-width:44.01rem){.figures td:nth-child(2),.figures td:nth-child(3){white-space:nowrap}}
th:last-child,td:last-child{padding-right:0}
thead th{color:var(--soft);font-size:.8rem;padding-top:0}
tbody th{font-weight:500}tbody tr:last-child>*{border-bottom:0}
td small{display:block;color:var(--soft)}.where{color:var(--soft);font-size:.84rem}
.tight td,.tight th{padding-top:.4rem;padding-bottom:.4rem}.tight .share{min-width:7rem}
.plan .expects{min-width:8.5rem;font-size:.84rem}.candidate b{font-weight:600}.plan td:last-child{color:var(--soft)}
dl{display:grid;grid-template-columns:minmax(8rem,11rem) 1fr;gap:.35rem 1.25rem;margin:0}
dt{color:var(--soft)}dd{margin:0}
.stats div{display:block}code{font:.86em ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
.notes,details ul{padding-left:1.1rem;margin:0;max-width:52rem}.notes li,details li{margin-bottom:.4rem}
details{margin-top:1rem;color:var(--soft);font-size:.9rem}summary{cursor:pointer;color:var(--ink)}
details ul{margin-top:.6rem}
:focus-visible{outline:2px solid var(--value);outline-offset:3px;border-radius:2px}
footer{margin-top:3rem;color:var(--soft);font-size:.82rem}
.best{font-weight:700}.best::after{content:" \\2605";color:var(--good);font-weight:400}
.key{display:inline-flex;width:1.5rem;height:1.5rem;align-items:center;justify-content:center;border-radius:50%;
background:var(--value);color:var(--card);font-weight:700;font-size:.82rem;margin-right:.5rem;flex:none}
.who{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,15rem),1fr));gap:.8rem;margin-top:1.2rem}
.who .card{flex-direction:row;gap:.2rem}.who .card b{color:var(--ink);font-size:.98rem}.who .card p{margin:0}
.scatter{position:relative;height:21rem;border-left:1px solid var(--soft);border-bottom:1px solid var(--soft);
margin:0 .5rem 0 3.2rem}
.scatter>svg{position:absolute;inset:0;width:100%;height:100%}
.curve{fill:none;stroke-width:2;vector-effect:non-scaling-stroke}
.curve.value{stroke:var(--value)}.curve.base{stroke:var(--base)}
.bubble{position:absolute;transform:translate(-50%,50%);border-radius:50%;display:flex;align-items:center;
justify-content:center;background:color-mix(in srgb,var(--base) 35%,transparent);border:1.5px solid var(--base);
font-weight:700;font-size:.8rem;color:var(--ink)}
.bubble.optimal{background:color-mix(in srgb,var(--value) 25%,transparent);border-color:var(--value)}
.rows{position:absolute;right:100%;top:0;bottom:0;font-size:.78rem;color:var(--soft);width:3.2rem}
.rows span{position:absolute;right:.4rem;transform:translateY(50%);white-space:nowrap}
.scatter+.ticks{margin:0 .5rem 0 3.2rem}
.axis-name{font-size:.82rem;color:var(--soft);margin:0 0 .6rem}.axis-name.x{text-align:right;margin:.1rem .5rem 0 0}
@media(max-width:44rem){
.cards{grid-template-columns:repeat(auto-fit,minmax(9.5rem,1fr))}.card{padding:.75rem .8rem}
.fold thead{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
.fold,.fold tbody{display:block}
.fold tr{display:block;padding:.7rem 0;border-bottom:1px solid var(--line)}
.fold tbody tr:last-child{border-bottom:0}
.fold th,.fold td{display:block;border:0;padding:.1rem 0;min-width:0;overflow-wrap:anywhere}
.fold td{display:grid;grid-template-columns:6.2rem minmax(0,1fr);gap:.75rem}
.fold td::before{content:attr(data-label);color:var(--soft);font-size:.84rem}
.fold td.none{display:none}
.fold tbody th{font-weight:600;padding-bottom:.2rem}
.tight tr{display:block}.stats{grid-template-columns:repeat(2,minmax(0,1fr))}
dl{grid-template-columns:1fr;gap:0}dl:not(.stats) dd{margin-bottom:.6rem}
.scatter{height:17rem}
}
@media(prefers-reduced-motion:no-preference){html{scroll-behavior:smooth}}
@media print{
:root{color-scheme:light;LIGHT}
body{background:#fff;font-size:10.5pt}main{max-width:none;padding:0}
*{-webkit-print-color-adjust:exact;print-color-adjust:exact}
figure,.card,tr,.verdict{break-inside:avoid}h2,h3{break-after:avoid}section{margin-top:1.5rem;padding-top:1rem}
details::details-content{content-visibility:visible;display:block;height:auto}summary{list-style:none}
}
"""

STYLE = (
    f":root{{color-scheme:light dark;{_scheme(COLOURS_LIGHT)}}}\n"
    f"@media(prefers-color-scheme:dark){{:root{{{_scheme(COLOURS_DARK)}}}}}"
    f"{''.join(f'rect.g{n}{{fill:var(--g{n})}}.swatch.g{n}{{background:var(--g{n})}}' for n in range(8))}"
    f"{_RULES.replace('LIGHT', _scheme(COLOURS_LIGHT))}"
)
