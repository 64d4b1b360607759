"""The report as one HTML page that needs no network, and as a CSV file."""

from __future__ import annotations

import csv
import html
import io
import os
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from mimickit_hydra.runtime.files import write_text_atomic
from mimickit_hydra.runtime.report_data import CURVES, FIGURES, Curve, Grouping, Report, RunData, short, shown
from mimickit_hydra.runtime.report_svg import chart, number

COLOURED = 8  # groups with a colour of their own; the best by their last value
_FILES = ("output.log", "log.txt", "config.yaml")
_ORDER = ("finished", "running", "queued", "preempted", "stopped", "missing", "lost", "failed")


def write_report(report: Report, page: Path) -> tuple[Path, Path]:
    """Write the page and, beside it, the same table as CSV. Links are relative to the page."""
    table = page.with_suffix(".csv")
    write_text_atomic(table, csv_text(report))
    write_text_atomic(page, html_text(report, page))
    return page, table


def csv_text(report: Report) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    names = [name for name, _, _ in FIGURES]
    writer.writerow(["run", "state", *report.varied, *names, "error", "path"])
    for data in report.runs:
        settings = [shown(data.settings.get(key)) for key in report.varied]
        figures = [repr(data.figures[name]) if name in data.figures else "" for name in names]
        where = os.path.relpath(data.run.path, report.path)
        writer.writerow([data.name, data.run.state, *settings, *figures, data.run.detail.error or "", where])
    return out.getvalue()


def html_text(report: Report, page: Path) -> str:
    styles = [_styles(grouping) for grouping in report.groupings]
    title = f"{report.path.absolute().parent.name}/{report.path.absolute().name}"
    body = [
        f"<header><h1>{_text(title)}</h1>{_summary(report)}</header>",
        _charts(report, styles),
        _table(report, page, styles),
        _failures(report),
        _videos(report, page, styles),
        f"<footer>Written {time.strftime('%Y-%m-%d %H:%M')} from {_text(report.path.absolute())}. "
        "The table is also in the CSV file beside this page.</footer>",
    ]
    head = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta name="color-scheme" content="light dark"><title>{_text(title)}</title><style>{_CSS}</style></head>'
    )
    return f"{head}<body>{''.join(part for part in body if part)}<script>{_SCRIPT}</script></body></html>\n"


def _text(value: object) -> str:
    return html.escape(str(value))


def _summary(report: Report) -> str:
    counts = Counter(data.run.state for data in report.runs)
    chips = [f'<span class="chip {name}">{counts[name]} {name}</span>' for name in _ORDER if counts[name]]
    total = f"{len(report.runs)} run{'s' if len(report.runs) != 1 else ''}"
    return f'<div class="chips"><span class="total">{total}</span>{"".join(chips)}</div>{_headline(report)}'


def _headline(report: Report) -> str:
    """The best run in one line. A task without a reward of its own has no return."""
    for name, words, sign in (("best_return", "Best test return", 1), ("dtw_pose_err", "Smallest pose error", -1)):
        known = [data for data in report.runs if name in data.figures]
        if known:
            values = [sign * data.figures[name] for data in known]
            best = known[values.index(max(values))]
            varied = ", ".join(f"{short(key)} {shown(best.settings.get(key))}" for key in report.varied)
            settings = _text(f" ({varied})" if varied else "")
            return f"<p>{words} <b>{number(best.figures[name])}</b> in <b>{_text(best.name)}</b>{settings}</p>"
    return ""


# -------------------------------------------------------------------------------------------------------------- curves


def _styles(grouping: Grouping) -> dict[str, str]:
    """CSS class of every group: the best ones have colours, the others are grey."""
    main = next(iter(grouping.curves.values()), [])
    last = {curve.group: float(curve.mean[-1]) for curve in main}
    best = sorted(grouping.groups, key=lambda group: -last.get(group, -float("inf")))[:COLOURED]
    coloured = [group for group in grouping.groups if group in best and group in last]
    return {group: f"g{coloured.index(group)}" if group in coloured else "rest" for group in grouping.groups}


def _charts(report: Report, styles: Sequence[dict[str, str]]) -> str:
    if not report.curves:
        return '<p class="note">No run has logged a row yet.</p>'
    choices = [
        f'<button data-view="{index}" aria-pressed="{"true" if index == 0 else "false"}">{_text(one.title)}</button>'
        for index, one in enumerate(report.groupings)
    ]
    control = f'<div class="groupby"><span>Group by</span>{"".join(choices)}</div>' if len(choices) > 1 else ""
    views = [_view(grouping, styles[index], index) for index, grouping in enumerate(report.groupings)]
    several = any(curve.runs > 1 for curves in report.curves.values() for curve in curves)
    note = "Mean over runs; the band is the bootstrap 95 % confidence interval of the mean. " if several else ""
    note += "Click a group to hide it, point at a line to read it."
    return f'<section><h2>Learning curves</h2>{control}{"".join(views)}<p class="note">{note}</p></section>'


def _view(grouping: Grouping, styles: dict[str, str], index: int) -> str:
    """Legend and charts of one way to group the runs; the first is what the page opens with."""
    cards = [
        f'<figure><figcaption>{title} <span class="unit">{unit}</span></figcaption>'
        f"{chart(_back_to_front(grouping.curves[key], styles), styles, title)}</figure>"
        for key, title, unit in CURVES
        if key in grouping.curves
    ]
    hidden = " hidden" if index else ""
    return (
        f'<div class="view" data-view="{index}"{hidden}>{_legend(grouping, styles)}'
        f'<div class="charts">{"".join(cards)}</div></div>'
    )


def _back_to_front(curves: Sequence[Curve], styles: dict[str, str]) -> list[Curve]:
    return sorted(curves, key=lambda curve: styles[curve.group] != "rest")


def _legend(grouping: Grouping, styles: dict[str, str]) -> str:
    drawn = {curve.group for curves in grouping.curves.values() for curve in curves}
    items = [
        f'<button class="{styles[group]}" data-group="{styles[group]}"><i></i>{_text(group)}'
        f'<span class="count" title="runs">{len(members)}</span></button>'
        for group, members in grouping.groups.items()
        if group in drawn and styles[group] != "rest"
    ]
    rest = sum(styles[group] == "rest" and group in drawn for group in grouping.groups)
    if rest:
        items.append(f'<button class="rest" data-group="rest"><i></i>{rest} other groups</button>')
    return f'<div class="legend">{"".join(items)}</div>'


def _dots(report: Report, styles: Sequence[dict[str, str]]) -> dict[int, str]:
    """The coloured dot of each run, by ``id``: its group's colour in the view that is shown."""
    classes: dict[int, list[str]] = {}
    for grouping, style in zip(report.groupings, styles, strict=True):
        for group, members in grouping.groups.items():
            for data in members:
                classes.setdefault(id(data), []).append(style[group])
    return {run: f'<i class="{names[0]}" data-classes="{" ".join(names)}"></i>' for run, names in classes.items()}


# --------------------------------------------------------------------------------------------------------------- table


def _table(report: Report, page: Path, styles: Sequence[dict[str, str]]) -> str:
    dots = _dots(report, styles)
    known = {name for data in report.runs for name in data.figures} - {"joint_rot_err"}  # the CSV has that one too
    shown_figures = [entry for entry in FIGURES if entry[0] in known]
    heads = [*(("left", "run"), ("left", "state")), *(("left", short(key)) for key in report.varied)]
    tops = {name: _best(report.runs, name) for name, _, _ in shown_figures}
    row = "".join(f'<th class="{side}"><button>{_text(name)}</button></th>' for side, name in heads)
    for _, heading, unit in shown_figures:
        unit = f' <span class="unit">{unit}</span>' if unit else ""
        row += f"<th><button>{heading}{unit}</button></th>"
    rows = []
    for data in report.runs:
        cells = [f'<td class="left name">{dots[id(data)]}{_link(data.run.path, page, data.name, folder=True)}</td>']
        cells.append(f'<td class="left"><span class="chip {data.run.state}">{data.run.state}</span></td>')
        cells += [f'<td class="left">{_text(shown(data.settings.get(key)))}</td>' for key in report.varied]
        cells += [_figure_cell(data, name, tops[name]) for name, _, _ in shown_figures]
        cells.append(f'<td class="left files">{_files(data, page)}</td>')
        rows.append(f"<tr>{''.join(cells)}</tr>")
    return (
        '<section><h2>Runs</h2><div class="scroll"><table><thead><tr>'
        f'{row}<th class="left">files</th></tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
        '<p class="note">Settings: only those in which the runs differ. Click a heading to sort.</p></section>'
    )


def _best(runs: Sequence[RunData], name: str) -> float | None:
    values = [data.figures[name] for data in runs if name in data.figures]
    if len(values) < 2 or name in ("samples", "samples_per_second") or min(values) == max(values):
        return None
    return min(values) if name.endswith("_err") else max(values)


def _figure_cell(data: RunData, name: str, best: float | None) -> str:
    if name not in data.figures:
        return '<td data-value="">–</td>'
    value = data.figures[name]
    text = f"{100 * value:.0f} %" if name == "success_rate" else number(value)
    return f'<td data-value="{value!r}"{" class=best" if value == best else ""}>{text}</td>'


def _files(data: RunData, page: Path) -> str:
    names = [name for name in _FILES if (data.run.path / name).is_file()]
    return " ".join(_link(data.run.path / name, page, name.partition(".")[0]) for name in names)


def _link(path: Path, page: Path, text: str, *, folder: bool = False) -> str:
    target = quote(os.path.relpath(path, page.absolute().parent)) + ("/" if folder else "")
    return f'<a href="{html.escape(target)}">{_text(text)}</a>'


def _failures(report: Report) -> str:
    failed = [data for data in report.runs if data.run.detail.error and data.run.state in ("failed", "lost")]
    if not failed:
        return ""
    lines = [f"<li><b>{_text(data.name)}</b> {_text(data.run.detail.error)}</li>" for data in failed]
    return f'<section><h2>Failures</h2><ul class="failures">{"".join(lines)}</ul></section>'


def _videos(report: Report, page: Path, styles: Sequence[dict[str, str]]) -> str:
    dots = _dots(report, styles)
    cards = []
    for data in report.runs:
        if data.video is None:
            continue
        source = html.escape(quote(os.path.relpath(data.video, page.absolute().parent)))
        media = (
            f'<img src="{source}" alt="" loading="lazy">'
            if data.video.suffix == ".gif"
            else f'<video src="{source}#t=0.5" controls muted loop playsinline preload="metadata"></video>'
        )
        settings = ", ".join(f"{short(key)} {shown(data.settings.get(key))}" for key in report.varied)
        cards.append(
            f"<figure>{media}<figcaption>{dots[id(data)]}{_link(data.run.path, page, data.name, folder=True)} "
            f'<span class="unit">{_text(settings)}</span></figcaption></figure>'
        )
    return f'<section><h2>Videos</h2><div class="videos">{"".join(cards)}</div></section>' if cards else ""


# ---------------------------------------------------------------------------------------------------- style and script

_LIGHT = ("#2a6fbb", "#d9730d", "#2f8f4e", "#b8336a", "#7a52c7", "#0f8b8d", "#8a6d1d", "#c0392b")
_DARK = ("#6cb0ff", "#ffa24d", "#6fd08c", "#ff7fae", "#b79bff", "#4fd1d3", "#d9bc5c", "#ff8a7a")


def _palette(colours: Sequence[str]) -> str:
    return "".join(f"--g{index}:{colour};" for index, colour in enumerate(colours))


_CSS = f"""
:root{{--bg:#f6f7f9;--card:#fff;--text:#1c2330;--dim:#667085;--line:#e3e7ed;--link:#2a6fbb;--rest:#a7afbb;
--ok:#1d7a41;--okbg:#e2f4e8;--bad:#b42318;--badbg:#fde8e6;--go:#1f5fae;--gobg:#e3eefb;--wait:#7a5a00;--waitbg:#fbf1d3;
{_palette(_LIGHT)}}}
@media (prefers-color-scheme:dark){{:root{{--bg:#12161c;--card:#1a2029;--text:#e6eaf0;--dim:#98a3b3;--line:#2b3441;
--link:#7ab8ff;--rest:#5d6877;--ok:#7fdca0;--okbg:#173524;--bad:#ff9d92;--badbg:#43201d;--go:#8cc2ff;--gobg:#1b2f4a;
--wait:#eccb6b;--waitbg:#3a2f10;{_palette(_DARK)}}}}}
*{{box-sizing:border-box}}
body{{margin:0 auto;padding:28px 32px 48px;max-width:1440px;background:var(--bg);color:var(--text);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}}
h1{{font-size:24px;margin:0 0 8px;letter-spacing:-.01em}} h2{{font-size:17px;margin:34px 0 10px}}
header p{{margin:10px 0 0}} .unit,.note,footer{{color:var(--dim);font-weight:400;font-size:13px}}
footer{{margin-top:40px}} a{{color:var(--link);text-decoration:none}} a:hover{{text-decoration:underline}}
.chips{{display:flex;flex-wrap:wrap;gap:8px;align-items:center}} .total{{font-weight:600;margin-right:4px}}
.chip{{display:inline-block;padding:1px 9px;border-radius:99px;font-size:13px;background:var(--gobg);color:var(--go)}}
.chip.finished{{background:var(--okbg);color:var(--ok)}}
.chip.failed,.chip.lost{{background:var(--badbg);color:var(--bad)}}
.chip.queued,.chip.stopped,.chip.missing,.chip.preempted{{background:var(--waitbg);color:var(--wait)}}
.charts,.videos{{display:grid;gap:16px;grid-template-columns:repeat(auto-fit,minmax(min(440px,100%),1fr))}}
.videos{{grid-template-columns:repeat(auto-fill,minmax(min(300px,100%),1fr))}}
figure{{margin:0;padding:14px 16px;background:var(--card);border:1px solid var(--line);border-radius:10px}}
.charts figcaption{{font-weight:600;margin-bottom:4px}} .videos figure{{padding:0;overflow:hidden}}
.videos figcaption{{padding:8px 12px;font-size:13px}}
video,.videos img{{display:block;width:100%;background:#000;aspect-ratio:16/9}}
svg{{display:block;width:100%;height:auto;overflow:visible}}
.grid{{stroke:var(--line)}} .axis{{stroke:var(--rest)}} .tick,.label{{fill:var(--dim);font-size:12px}}
.mean{{fill:none;stroke:var(--c);stroke-width:2;stroke-linejoin:round}} .band{{fill:var(--c);opacity:.16}}
.end{{fill:var(--c)}} .rest .mean{{stroke-width:1}} .rest .band{{opacity:.06}} .rest{{--c:var(--rest)}}
{"".join(f".g{index}{{--c:var(--g{index})}}" for index in range(len(_LIGHT)))}
g:hover .mean{{stroke-width:3}} g.off{{display:none}}
.groupby{{display:flex;flex-wrap:wrap;align-items:center;gap:6px 8px;margin-bottom:10px;font-size:13px}}
.groupby span{{color:var(--dim)}} .groupby button{{padding:3px 10px;border:1px solid var(--line);border-radius:6px;
background:var(--card);color:var(--text);font:inherit;cursor:pointer}}
.groupby button[aria-pressed=true]{{background:var(--gobg);color:var(--go);border-color:var(--go)}}
.legend{{display:flex;flex-wrap:wrap;gap:6px 8px;margin-bottom:12px}}
.legend button{{
display:flex;align-items:center;gap:7px;padding:3px 10px;border:1px solid var(--line);border-radius:99px;
background:var(--card);color:var(--text);font:inherit;font-size:13px;cursor:pointer}} .legend button.off{{opacity:.4}}
.legend .count{{color:var(--dim)}}
i{{display:inline-block;width:10px;height:10px;border-radius:3px;background:var(--c)}}
td i,.videos i{{margin-right:8px}}
.scroll{{overflow-x:auto;background:var(--card);border:1px solid var(--line);border-radius:10px}}
table{{border-collapse:collapse;width:100%;font-size:13px;font-variant-numeric:tabular-nums}}
th,td{{padding:7px 9px;text-align:right;white-space:nowrap;border-bottom:1px solid var(--line)}}
tbody tr:last-child td{{border-bottom:0}} tbody tr:hover{{background:color-mix(in srgb,var(--go) 6%,transparent)}}
.left{{text-align:left}} .name,th:first-child{{position:sticky;left:0;background:var(--card)}}
 th{{color:var(--dim);font-weight:600;font-size:12px}}
th button{{all:unset;cursor:pointer}} th button:focus-visible{{outline:2px solid var(--link)}}
th[aria-sort=ascending] button::after{{content:" ▲"}} th[aria-sort=descending] button::after{{content:" ▼"}}
.best{{font-weight:700;color:var(--ok)}} .files a{{margin-right:6px;font-size:12px}}
.failures{{padding-left:0;list-style:none;margin:0}} .failures li{{padding:8px 12px;margin-bottom:8px;border-radius:8px;
background:var(--badbg);color:var(--bad);font-size:13px;overflow-wrap:anywhere}}
@media print{{body{{background:#fff}}}}
""".replace("\n", "")

_SCRIPT = """
document.querySelectorAll('.legend button').forEach(b=>b.addEventListener('click',()=>{
 const off=b.classList.toggle('off');
 b.closest('.view').querySelectorAll('svg g.'+b.dataset.group).forEach(g=>g.classList.toggle('off',off));}));
document.querySelectorAll('.groupby button').forEach(b=>b.addEventListener('click',()=>{
 const view=b.dataset.view;
 document.querySelectorAll('.groupby button').forEach(o=>o.setAttribute('aria-pressed',o===b));
 document.querySelectorAll('.view').forEach(v=>v.hidden=v.dataset.view!==view);
 document.querySelectorAll('i[data-classes]').forEach(i=>i.className=i.dataset.classes.split(' ')[view]);}));
document.querySelectorAll('th button').forEach(b=>b.addEventListener('click',()=>{
 const th=b.parentElement,row=th.parentElement,at=[...row.children].indexOf(th),body=th.closest('table').tBodies[0];
 const up=th.getAttribute('aria-sort')==='descending';
 [...row.children].forEach(c=>c.removeAttribute('aria-sort'));th.setAttribute('aria-sort',up?'ascending':'descending');
 const value=r=>{const c=r.children[at];return c.dataset.value!==undefined?c.dataset.value:c.textContent};
 const compare=(a,b)=>{const x=value(a),y=value(b),p=parseFloat(x),q=parseFloat(y);
  if(x===''||y==='')return (x==='')-(y==='');
  const d=isNaN(p)||isNaN(q)?x.localeCompare(y,undefined,{numeric:true}):p-q;return up?d:-d};
 [...body.rows].sort(compare).forEach(r=>body.appendChild(r));}));
""".strip()

__all__ = ["csv_text", "html_text", "write_report"]
