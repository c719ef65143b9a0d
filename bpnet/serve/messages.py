"""Messages: the JSON that clients send and get."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from bpnet.serve.limits import MAX_ID_CHARS, MAX_TOP

EXAMPLE_ID = "AO8RW"
EXAMPLE_QUERY = "a person puts a book on a shelf"

VideoId: TypeAlias = Annotated[
    str,
    Field(
        min_length=1,
        max_length=MAX_ID_CHARS,
        description="Id of an open video, or of one of the served feature store.",
        examples=[EXAMPLE_ID],
    ),
]


def _whole(value: object) -> object:
    """5.0 is an integer to JSON."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


class _Asked(BaseModel):
    # Strict: what a client means by "5" or true where a number belongs is not guessed.
    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


class StoredVideo(_Asked):
    """A video of the served feature store, to be opened."""

    video_id: VideoId


class LocalizeRequest(_Asked):
    """Sentences about one video."""

    video_id: VideoId
    queries: Annotated[
        str | list[str],
        Field(
            description="A sentence, or several: each is to have a word.",
            examples=[[EXAMPLE_QUERY, "someone opens the door"]],
        ),
    ]
    top: Annotated[
        int,
        BeforeValidator(_whole),
        Field(ge=1, le=MAX_TOP, description="Largest number of moments a sentence."),
    ] = 5
    min_score: Annotated[
        float | Literal["auto"],
        Field(
            description="Moments with a lower score are left out. `auto`: the score from which a "
            "sentence is probably about the video at all, where the checkpoint has one fitted.",
            examples=[0.0],
        ),
    ] = 0.0


class VideoResponse(BaseModel):
    """An open video."""

    video_id: str = Field(description="What to call it in other requests.", examples=[EXAMPLE_ID])
    name: str = Field(
        description="Name of the uploaded file, as sent, for people alone; else the id.",
        examples=[EXAMPLE_ID],
    )
    source: Literal["store", "upload"] = Field(description="Where it comes from.")
    duration_seconds: float = Field(description="Its length.", examples=[30.5])


class VideosResponse(BaseModel):
    """The open videos."""

    videos: list[VideoResponse] = Field(description="The most recently used first.")
    max_videos: int = Field(description="How many are kept open.", examples=[32])


class MomentResponse(BaseModel):
    """A piece of the video."""

    start_seconds: float = Field(description="Its beginning.", examples=[12.0])
    end_seconds: float = Field(description="Its end, after the beginning.", examples=[17.5])
    score: float = Field(
        description="Matching score: higher is better, comparable within one sentence.",
        examples=[0.87],
    )
    probability: float | None = Field(
        default=None,
        description="That half of it and the true moment overlap (temporal IoU >= 0.5). Missing "
        "where the checkpoint is not calibrated.",
        examples=[0.64],
    )


class AnswerResponse(BaseModel):
    """What was found for one sentence."""

    query: str = Field(description="The sentence.", examples=[EXAMPLE_QUERY])
    moments: list[MomentResponse] = Field(description="The best first; none above `min_score`: []")


class LocalizeResponse(BaseModel):
    """What was found."""

    video_id: str = Field(description="The video.", examples=[EXAMPLE_ID])
    duration_seconds: float = Field(description="Its length.", examples=[30.5])
    answers: list[AnswerResponse] = Field(description="One a sentence, in the order sent.")


class HealthResponse(BaseModel):
    """That the service runs, and with what."""

    status: Literal["ok"] = Field(description="Always `ok`: else there is no answer.")
    version: str = Field(description="Version of bpnet.", examples=["0.1.0"])
    backbone: str = Field(description="The clip features that the model reads.", examples=["grid"])
    min_score: float | None = Field(
        description="What `min_score: auto` stands for; null: it was not fitted.", examples=[0.4]
    )
    open_videos: int = Field(description="Number of open videos.", examples=[3])
    running_requests: int = Field(
        description="Requests that are worked on, or wait, without this one.", examples=[0]
    )


class Problem(BaseModel):
    """What is wrong with a request."""

    error: str = Field(description="For programs.", examples=["MissingVideoError"])
    message: str = Field(description="For people.", examples=["video 'v99' is not open"])
