"""The page: gradio's parts, and what happens when they are used."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from bpnet.app.desk import Desk, Told
from bpnet.app.timeline import answers_html, message_html, player_html
from bpnet.app.visit import Visit
from bpnet.errors import BPNetError
from bpnet.report.times import clock

# Beside what browsers call video: Python does not know these everywhere.
_MORE_SUFFIXES = [".mkv", ".avi", ".flv", ".ogv", ".ts", ".wmv", ".3gp"]
_PROGRESS = gr.Progress()  # gradio puts that of the call in its place
_EMPTY_PLAYER = '<div class="bp-player bp-empty">No video yet</div>'


def build_page(desk: Desk, note: str, examples: Mapping[str, Sequence[str]]) -> gr.Blocks:
    """Put the page together.

    Args:
        desk: What does the work.
        note: Said at the top, such as what the model was trained on; may be empty.
        examples: Sentences that are put in place where a video of the library is chosen, by name.

    Returns:
        The page.
    """
    least = desk.localizer.least_score
    # Rounded down to what the slider can show, so that it lets pass what the fitted score does.
    threshold = 0.0 if least is None else math.floor(100 * least) / 100
    acts = _Acts(desk, examples)
    with gr.Blocks(title="bpnet", analytics_enabled=False, delete_cache=(600, 3600)) as page:
        _html(_header(note))
        with gr.Row(elem_classes="bp-columns"):
            with gr.Column(scale=5, min_width=300, elem_classes="bp-left"):
                player = _html(_EMPTY_PLAYER)
                upload = gr.File(
                    label="Drop a video here, or choose one",
                    file_types=["video", *_MORE_SUFFIXES],
                    height=170,
                    elem_id="bp-upload",
                )
                chosen = gr.Dropdown(
                    list(desk.library),
                    value=None,
                    label="or take one of these",
                    visible=bool(desk.library),
                    elem_id="bp-chosen",
                )
            with gr.Column(scale=7, min_width=300):
                sentences = gr.Textbox(
                    label="Sentences, one a line",
                    placeholder="a red circle slides to the left\nsomething blue spins",
                    lines=3,
                    max_lines=12,
                    elem_id="bp-sentences",
                )
                ask = gr.Button("Find the moments", variant="primary", elem_id="bp-ask")
                with gr.Row(elem_classes="bp-settings"):
                    top = gr.Slider(
                        1, 10, value=3, step=1, label="Moments a sentence", elem_id="bp-top"
                    )
                    with gr.Column(min_width=160, elem_classes="bp-threshold"):
                        score = gr.Slider(
                            0,
                            1,
                            value=threshold,
                            step=0.01,
                            label="Least score",
                            elem_id="bp-score",
                        )
                        _html(_mark(least))
                message = _html("", elem_id="bp-message")
                answers = _html("", elem_id="bp-answers", min_height=90)

        # One at a time: the network takes all cores that there are.
        work = {"concurrency_limit": 1, "concurrency_id": "work", "api_visibility": "private"}
        light = {
            "api_visibility": "private",
            "show_progress": "hidden",
            "trigger_mode": "always_last",
        }
        opened = [player, answers, message]
        upload.upload(acts.open_upload, upload, [upload, *opened], show_progress_on=player, **work)
        chosen.select(
            acts.open_chosen,
            [chosen, sentences],
            [*opened, sentences],
            show_progress_on=player,
            **work,
        )
        wanted, told = [sentences, top, score], [answers, message]
        ask.click(acts.ask, wanted, told, show_progress_on=answers, **work)
        for slider in (top, score):
            slider.change(acts.adjust, [top, score], told, **light)
        page.unload(acts.leave)
    page.queue(max_size=desk.limits.waiting)
    # Only of a page that was launched, and not of one that is part of another application, gradio
    # makes sure that the files which a request names were sent to it.
    page.has_launched = True
    return page


def _html(value: str, elem_id: str | None = None, min_height: int | None = None) -> gr.HTML:
    """HTML of ours, in our own style alone; its least height is room for the progress of work."""
    return gr.HTML(value, elem_id=elem_id, min_height=min_height, apply_default_css=False)


class _Acts:
    """What happens when a part is used; an error becomes a message on the page.

    Args:
        desk: What does the work.
        examples: Sentences for videos of the library, by name.
    """

    def __init__(self, desk: Desk, examples: Mapping[str, Sequence[str]]) -> None:
        self._desk, self._examples = desk, examples
        self._suggested = {"", *("\n".join(lines) for lines in examples.values())}

    def open_upload(
        self, path: str, request: gr.Request, progress: gr.Progress = _PROGRESS
    ) -> tuple[Any, ...]:
        """Open the file that was dropped; its place becomes free for another one."""
        file, session = Path(path), str(request.session_hash)
        told = _told(progress)
        return None, *_opened(lambda: self._desk.open_upload(session, file, file.name, told))

    def open_chosen(
        self, name: str, written: str, request: gr.Request, progress: gr.Progress = _PROGRESS
    ) -> tuple[Any, ...]:
        """Open a video of the library, and suggest sentences where nothing of value is lost."""
        session, told = str(request.session_hash), _told(progress)
        lines = self._examples.get(name)
        text = "\n".join(lines) if lines and written.strip() in self._suggested else gr.skip()
        return *_opened(lambda: self._desk.open_chosen(session, name, told)), text

    def ask(
        self,
        text: str,
        top: float,
        min_score: float,
        request: gr.Request,
        progress: gr.Progress = _PROGRESS,
    ) -> tuple[Any, ...]:
        """Answer the sentences."""
        session, told = str(request.session_hash), _told(progress)
        return _answered(lambda: self._desk.ask(session, text, int(top), min_score, told))

    def adjust(self, top: float, min_score: float, request: gr.Request) -> tuple[Any, ...]:
        """Show more or fewer moments; before there is a video, nothing happens."""
        session = str(request.session_hash)
        visit = self._desk.visits.of(session)
        if visit is None or visit.answers is None:
            return gr.skip(), gr.skip()
        return _answered(lambda: self._desk.adjust(session, int(top), min_score))

    def leave(self, request: gr.Request) -> None:
        """The page was closed: its files go."""
        self._desk.leave(str(request.session_hash))


def _told(progress: gr.Progress) -> Told:
    return lambda part, what: progress(part, desc=what)


def _opened(act: Callable[[], Visit]) -> tuple[Any, ...]:
    """Player, answers and message after a video was opened, or was not."""
    try:
        visit = act()
    except BPNetError as err:
        return gr.skip(), gr.skip(), message_html(str(err), is_error=True)
    said = f"{visit.name} is open: {clock(visit.opened.duration_seconds)}. Now ask."
    return player_html(visit), "", message_html(said, is_error=False)


def _answered(act: Callable[[], Visit]) -> tuple[Any, ...]:
    """Answers and message after a question."""
    try:
        visit = act()
    except BPNetError as err:
        return gr.skip(), message_html(str(err), is_error=True)
    assert visit.answers is not None
    moments = visit.answers.moments()
    found = sum(map(len, moments))
    said = (
        f"{found} moment{'s' * (found != 1)} for {len(moments)} sentence{'s' * (len(moments) != 1)}"
    )
    return answers_html(visit), message_html(said, is_error=False)


def _header(note: str) -> str:
    shown = f'<p class="bp-note">{html.escape(note)}</p>' if note else ""
    return (
        '<header class="bp-header"><h1>Find the moment</h1><p>Type a sentence, get the seconds of '
        f"the video that it describes.</p>{shown}</header>"
    )


def _mark(least: float | None) -> str:
    """The fitted score below its slider."""
    if least is None:
        return '<p class="bp-hint">No threshold was fitted for this model.</p>'
    return (
        f'<div class="bp-mark" data-score="{least:.4f}"><i></i></div><p class="bp-hint">'
        f"The mark is {least:.2f}, fitted on validation: if the best moment of a sentence "
        "scores less, the video probably does not show it.</p>"
    )
