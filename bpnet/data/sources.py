"""Where the annotation files of each dataset are, what they must contain, and under which terms.

Every address names a commit, so its content cannot change. The SHA-256 sums were computed from the
bytes of these files at these commits. The bytes of the two files marked by ``git:`` were not at
hand; they carry the id that Git itself gives their content there, which fixes it as well.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from bpnet.errors import ConfigError

LARGEST_BYTES = 100 * 2**20  # GitHub holds no larger file


@dataclasses.dataclass(frozen=True)
class RemoteFile:
    """One file to fetch.

    Attributes:
        name: Its path below the folder of the dataset, with ``/``.
        url: Its address.
        digest: ``sha256:`` and 64 hexadecimal digits, or ``git:`` and the 40 that
            ``git hash-object FILE`` prints.
        size: Bytes; None: not known, at most `LARGEST_BYTES`.
    """

    name: str
    url: str
    digest: str
    size: int | None


@dataclasses.dataclass(frozen=True)
class ByHand:
    """Something that a person must fetch: it lies behind a page, or is very large.

    Attributes:
        what: The project that published it, and the file or folder as it is called there.
        home: The page where it is.
        put: A folder to put it in.
    """

    what: str
    home: str
    put: str


@dataclasses.dataclass(frozen=True)
class Source:
    """The homes of one dataset.

    Attributes:
        title: Its name in papers, and which release this is.
        files: The annotation files.
        licence: The terms of use.
        features: Published clip features that fit them.
    """

    title: str
    files: tuple[RemoteFile, ...]
    licence: str
    features: tuple[ByHand, ...]


def find_source(name: str, sources: Mapping[str, Source]) -> Source:
    """The source of a dataset.

    Args:
        name: Its name here.
        sources: All that are known, such as `SOURCES`.

    Returns:
        Its files, terms and features.

    Raises:
        ConfigError: There is none of this name.
    """
    if name not in sources:
        raise ConfigError(f"dataset {name!r}: expected one of {', '.join(sources)}")
    return sources[name]


def _at(repository: str, commit: str, folder: str, table: str) -> tuple[RemoteFile, ...]:
    """Files in a folder on GitHub.

    A line of the table: size (``-``: not known), digest, name there, and the name here if another.
    """
    base = f"https://raw.githubusercontent.com/{repository}/{commit}/{folder}"
    files = []
    for line in table.strip().splitlines():
        size, digest, origin, *name = line.split()
        digest = digest if ":" in digest else f"sha256:{digest}"
        number = None if size == "-" else int(size)
        files.append(RemoteFile((name or [origin])[0], f"{base}/{origin}", digest, number))
    return tuple(files)


def _features(dataset: str, *releases: tuple[str, str, str]) -> tuple[ByHand, ...]:
    return tuple(
        ByHand(what, home, f"features/{dataset}/{short}") for short, what, home in releases
    )


_VSLNET = ("26hzhang/VSLNet", "3793c625f2e251a5f19a0d59f0c83b12e386f808")
_VIDEOX = ("microsoft/VideoX", "1744b2159c3d11694f94dab4fcde8660c685e79a")
_CBP = ("JaywongWang/CBP", "4a1764f1e3ec37d5cee471c526c1980d72795e0d")
_SCDM = ("yytzsy/SCDM", "075159b13c99b6414d27ed1563f812e217187e2e")
_CD = ("yytzsy/grounding_changing_distribution", "83b07d484104e2b5a33da9e17352aeabcc10fe5a")
_MOMENT_DETR = ("jayleicn/moment_detr", "b7e553ac3b0c898ee6b85e03ee507c064eab89ca")
_DIDEMO = ("LisaAnne/LocalizingMoments", "b6a555c8134581305d0ed4716fbc192860e0b88c")

# The pages that the README of each project points to.
_VSLNET_BOX = "https://app.box.com/s/h0sxa5klco6qve5ahnz50ly2nksmuedw"
_TAN_BOX = "https://rochester.box.com/s/8znalh6y5e82oml2lr7to8s6ntab6mav"
_MS_TAN_BOX = "https://rochester.box.com/s/swu6rlqcdlebvwml8dyescmi7ra0owc5"
_DRIVE = "https://drive.google.com/file/d"

_VSLNET_FEATURES = ("vslnet", "VSLNet: data/features, one npy file a video", _VSLNET_BOX)
_MS_TAN_FEATURES = ("ms-2d-tan", "MS-2D-TAN: C3D, I3D and VGG in HDF5", _MS_TAN_BOX)
_CHARADES_FEATURES = _features(
    "charades_sta",
    _VSLNET_FEATURES,
    ("2d-tan", "2D-TAN: vgg_rgb_features.hdf5 (16 GB)", _TAN_BOX),
    _MS_TAN_FEATURES,
    ("snag", "SnAG: charades_sta_i3d.tar.gz", f"{_DRIVE}/1njAWKq3p82SjKVN_H6JMh3kSv6BWJduI/view"),
)
_TACOS_FEATURES = _features(
    "tacos",
    _VSLNET_FEATURES,
    ("2d-tan", "2D-TAN: tall_c3d_features.hdf5 (486 MB)", _TAN_BOX),
    _MS_TAN_FEATURES,
    ("snag", "SnAG: tacos.tar.gz", f"{_DRIVE}/1T5bd6_Z9zuSFastgZu88Uos1PQf1FPqN/view"),
)
_ACTIVITYNET_FEATURES = _features(
    "activitynet",
    _VSLNET_FEATURES,
    ("2d-tan", "2D-TAN: sub_activitynet_v1-3.c3d.hdf5", _TAN_BOX),
    _MS_TAN_FEATURES,
)

_CHARADES_TERMS = "Charades and what is made from it: for non-commercial use"
_TACOS_TERMS = "TACoS: for research use"
_ACTIVITYNET_TERMS = "ActivityNet Captions: for research use"

SOURCES: Mapping[str, Source] = {
    "charades_sta": Source(
        title="Charades-STA: the train file with its four reversed moments mended, and as it was",
        files=(
            *_at(
                *_VSLNET,
                "data/dataset/charades",
                """
622487 e966fc1970cf6bc4cc73db2dd4fc10e148313810a372eef488defb0dd2ee359f charades_sta_train.txt
186686 fab341679c20b0917173dcffffde367a71113fe63f3a645558cef2ebfbfefb55 charades_sta_test.txt
1803980 42de4feae0ae2705d847776393637edafce6d8d47cfbf9ed19b8cd182d370155 charades.json
""",
            ),
            *_at(
                *_VIDEOX,
                "2D-TAN/data/Charades-STA",
                "622491 47ec9b6b488fca753373d9cc29b07a959f7237a922cb29463cd088cd6198e805 "
                "charades_sta_train.txt original/charades_sta_train.txt",
            ),
        ),
        licence=_CHARADES_TERMS,
        features=_CHARADES_FEATURES,
    ),
    "charades_cd": Source(
        title="Charades-CD: Charades-STA in other parts, one out of distribution",
        files=_at(
            *_CD,
            "Charades-CD",
            """
1611562 e8bd49b87d6e166ba349035136396fa4bb3fbc8f85f9612544215624c7042651 charades_train.json
122619 05d451cbf0cc6441405d071440915974c52ea820a2627c8be4a6bbfff88cce3e charades_val.json
118860 c75e4393425a21842abc6d5f75deb5ee64c54d38148bcd4adac7417099b82566 charades_test_iid.json
500447 a73847ada163bfcbbad2f616311098e6139b63ca6f93f537ca41b01b81961166 charades_test_ood.json
""",
        ),
        licence=f"{_CHARADES_TERMS}; the repository states no licence",
        features=_CHARADES_FEATURES,
    ),
    "tacos_2dtan": Source(
        title="TACoS as 2D-TAN processed it; scores do not compare with those on tacos_tall",
        files=_at(
            *_VSLNET,
            "data/dataset/tacos",
            """
601727 ee5e1527885122f0d3cf1dbfcf0efb0de0c54f8290937fe3ff8b5844742112e9 train.json
277474 f8f350e5727e8c0ab3ca2a5d4df93027dcd0546aebe8e2087ae220c850db59fe val.json
246672 1c64c8a5ada2b812ee7e230d1577139c5ee8e1e5d9ae2141479c980a0c3fb847 test.json
""",
        ),
        licence=_TACOS_TERMS,
        features=_TACOS_FEATURES,
    ),
    "tacos_tall": Source(
        title="TACoS as TALL published it; scores do not compare with those on tacos_2dtan",
        files=(
            *_at(
                *_CBP,
                "datasets/tacos/raw_data",
                """
502372 34bf3ca7b36407d4fd112d46710f02b6ac5c9e6e4488a88369adaa78e372b47c \
tacos_train_0_74.txt TACoS_train_samples.txt
240525 ae01f5718affae9634f798be3b7c0cad589849c14c22002b6861df01603292ce \
tacos_val_100_126.txt TACoS_val_samples.txt
208263 5cd9b67db0e89b2272b6ec3f9a3f58b6b46454052c31bce3675a94918cf1c8f9 \
tacos_test_75_99.txt TACoS_test_samples.txt
""",
            ),
            *_at(
                *_SCDM,
                "data/TACOS/datasplit_info",
                """
638479 38b7d43acf6489caa85a988205e87dce719bd5cf607b09e2a78ec62d5fbce670 train.json scdm_train.json
297521 5ce283cbae758bcd3612b62d9ac59b0e4c4ca5e7bffb40e04e7bb1eebdc9a77f val.json scdm_val.json
261799 5ca10fdb0875d5aca3d5222c79cd9e330b37fd111fdf50ec258f73289b560d56 test.json scdm_test.json
""",
            ),
        ),
        licence=f"{_TACOS_TERMS}; the repositories state no licence",
        features=_TACOS_FEATURES,
    ),
    "activitynet": Source(
        title="ActivityNet Captions",
        files=_at(
            *_VSLNET,
            "data/dataset/activitynet",
            """
4041275 7e887dd0fc85bd173358caf2c1e9adb6f79a8aa28d129ada22d89e7c6b23d49d train.json
1910765 66834fea850b62fd69ec8c23295abae82f6a26518d0353ddd59d98778dbadb0a val_1.json
1727033 37df50829c22e913b369af18c0bfb82277257f037082df3781d4dfc20c35f80d val_2.json
""",
        ),
        licence=_ACTIVITYNET_TERMS,
        features=_ACTIVITYNET_FEATURES,
    ),
    "activitynet_cd": Source(
        title="ActivityNet-CD: ActivityNet Captions in other parts, one out of distribution",
        files=_at(
            *_CD,
            "ActivityNet-CD",
            """
- git:f4fc9e88daeee3d71f03f03c083c77d6f19bf7cb anet_train.json
363645 4f772595ac7717f7b269f7b71dac5cbe7308159fbea5f8946e4aadae27fadbef anet_val.json
354327 8b281eee04bc61f9282445d4ec343f647c54024e66e50d657a7d440584004c5b anet_test_iid.json
1366568 a374c9992b1c8940070e00aec0e5d9e12fe3888e03ccc60d2db41c4baec8b5da anet_test_ood.json
""",
        ),
        licence=f"{_ACTIVITYNET_TERMS}; the repository states no licence",
        features=_ACTIVITYNET_FEATURES,
    ),
    "qvhighlights": Source(
        title="QVHighlights, with the targets of the test part",
        files=_at(
            *_MOMENT_DETR,
            "data",
            """
3956580 fd28404187468f57cf99242be2963127dc9b4aef26c7de3cb9469569801f2625 \
highlight_train_release.jsonl
821101 f668a1eaea156ec5315e14718999cea043a8cf948d3cafbd8e8d655318c3cd02 highlight_val_release.jsonl
204566 0462f0cb582b54913671ba5ebfc325931ffa6d422c60cb72520749fc6d5d05a3 highlight_test_release.jsonl
824658 bd50ec6bb5dd3f72571126ba5fdc7418efdd9219a9487984e483a02e2ce5d493 highlight_test_with_gt.jsonl
20848 9e502ba75fd0fd30cea5497b438a4bc12f07f02bc932a7a6041fd6a18b8f46a0 LICENSE
""",
        ),
        licence="CC BY-NC-SA 4.0 (see LICENSE beside the files)",
        features=_features(
            "qvhighlights",
            (
                "moment-detr",
                "Moment-DETR: moment_detr_features.tar.gz (8 GB)",
                f"{_DRIVE}/1Hiln02F1NEpoW8-iPZurRyi-47-W2_B9/view",
            ),
        ),
    ),
    "didemo": Source(
        title="DiDeMo",
        files=_at(
            *_DIDEMO,
            "data",
            """
- git:ce7c7cb68c776bfcdc790bd7b1bbbbdd4278a7df train_data.json
1111448 b0364cc256553332feb19d46bcc4cd2b09774949fe6c0b25e7ed0ff3c6aefebb val_data.json
1068934 1891c04ec48b3d364c739594b2b6413806b74bd9027c092d896e7ebb930ff1cd test_data.json
""",
        ),
        licence="BSD 2-Clause; the videos: Creative Commons licences, one a video",
        features=_features(
            "didemo",
            (
                "localizing-moments",
                "LocalizingMoments: RGB and flow features",
                "https://drive.google.com/drive/folders/1heYHAOJX0mdeLH95jxdfxry6RC_KMVyZ",
            ),
        ),
    ),
}
