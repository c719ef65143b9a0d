"""The frame of the report page and its style."""

# Of the pictures alone; the colours come from the page that they stand in.
PICTURE_STYLE = """
svg{display:block;overflow:visible}svg text{font-size:11px;fill:var(--soft)}
text.lane{font-weight:600}text.inside{fill:var(--ink)}
text.moment{fill:var(--moment)}text.target{fill:var(--target)}
rect.moment{fill:var(--moment)}rect.target{fill:var(--target)}rect.candidate{fill:var(--candidate)}
rect.later{opacity:.7}.seam{stroke:var(--card);stroke-width:2}.band{fill:var(--target);opacity:.1}.rule{stroke:var(--line)}
.curve{fill-opacity:.28;stroke-width:1.5;vector-effect:non-scaling-stroke}
.start{fill:var(--start);stroke:var(--start)}.end{fill:var(--end);stroke:var(--end)}
"""

STYLE = """
:root{color-scheme:light dark;--page:#f6f6f4;--card:#fff;--ink:#1d1f24;--soft:#686d78;
--line:#dcdde0;--start:#0e8a9c;--end:#d9772b;--candidate:#7a8294;--moment:#3f5bd9;--target:#23935a}
@media(prefers-color-scheme:dark){:root{--page:#131417;--card:#1c1e23;--ink:#e9eaee;
--soft:#9aa0ad;--line:#33363e;--start:#3cc0d3;--end:#f09a55;--candidate:#99a1b3;--moment:#8b9eff;--target:#4cc98a}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:60rem;padding:2.5rem 1.25rem 4rem;background:var(--page);
color:var(--ink);font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",sans-serif}
h1{font-size:1.75rem;line-height:1.2;letter-spacing:-.015em;margin:0 0 .75rem;text-wrap:balance}
h2{font-size:1.15rem;line-height:1.3;margin:0 0 .35rem;overflow-wrap:anywhere}
.note{color:var(--soft);margin:.25rem 0;max-width:44rem}
.below{color:var(--soft);font-size:.8rem;margin:.4rem 0 0}
.scroll,article{background:var(--card);border:1px solid var(--line);border-radius:12px;
padding:1.25rem;margin-top:1.25rem}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
caption{text-align:left;color:var(--soft);font-size:.85rem;padding-bottom:.6rem}
th,td{padding:.35rem .45rem;text-align:right;font-weight:400;white-space:nowrap}
thead th{color:var(--soft);font-size:.8rem}thead .group{text-align:center;font-weight:600}
th[scope=row]{text-align:left;font-weight:600;padding-left:0}
tbody tr:not(.why)>*{border-top:1px solid var(--line);padding-top:.6rem}
tbody tr:first-child>td{font-weight:600}
.why td{text-align:left;white-space:normal;color:var(--soft);font-size:.82rem;padding:0 0 .6rem}
.legend,.facts{display:flex;flex-wrap:wrap;gap:.2rem 1rem;color:var(--soft);font-size:.85rem}
.legend{margin:1.5rem 0 -.5rem}.facts{margin:0 0 .8rem}
.legend i{display:inline-block;width:.75rem;height:.75rem;border-radius:3px;margin-right:.35rem}
b.moment{color:var(--moment)}b.target{color:var(--target)}b.iou{color:var(--ink)}
@media(max-width:40rem){body{padding:1.25rem .6rem 3rem}.scroll,article{padding:.9rem}
th,td{padding:.3rem .25rem}table{font-size:.85rem}}
"""

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{title}</title><style>{style}</style></head>
<body><main>
{body}
</main></body></html>
"""
