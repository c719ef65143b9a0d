import dataclasses
import subprocess
import sys

import numpy as np
import pytest

from bpnet.config import DATASETS
from bpnet.errors import AnnotationError, ConfigError
from bpnet.evaluation.average_precision import mean_average_precision
from bpnet.evaluation.metrics import localization_metrics, oracle_recall
from bpnet.evaluation.protocols import PROTOCOLS, Rounding, SoftNMS, part_note, protocol
from bpnet.evaluation.ranking import rank, round_times

NAMES = ["vslnet", "tan", "ms-tan", "mmn", "lgi", "snag", "moment-detr"]
# A hit needs more than the threshold.
STRICT = {"tan", "ms-tan"}


def test_presets_are_what_their_names_say():
    rules = {preset.name: (preset.hit, preset.nms_threshold, preset.kept) for preset in PROTOCOLS}
    assert rules == {
        "vslnet": (">=", None, None),
        "tan": (">", 0.5, None),
        "ms-tan": (">", 0.49, None),
        "mmn": (">=", 0.5, None),
        "lgi": (">=", None, None),
        "snag": (">=", None, 5),
        "moment-detr": (">=", None, 10),
    }
    assert protocol("snag").soft_nms == SoftNMS(sigma=0.9, min_score=0.001, voting_threshold=0.95)
    assert [preset.name for preset in PROTOCOLS if preset.soft_nms] == ["snag"]
    assert [preset.name for preset in PROTOCOLS if preset.rounding] == ["moment-detr"]
    assert {preset.name for preset in PROTOCOLS if preset.drops_reversed} == {
        "tan",
        "ms-tan",
        "mmn",
        "snag",
    }
    assert all(preset.text for preset in PROTOCOLS)
    with pytest.raises(dataclasses.FrozenInstanceError):
        protocol("vslnet").hit = ">"


@pytest.mark.parametrize(
    ("name", "dataset", "threshold"),
    [
        ("tan", "charades_sta", 0.45),
        ("tan", "charades_cd", 0.45),
        ("tan", "activitynet", 0.5),
        ("tan", "activitynet_cd", 0.5),
        ("tan", "tacos_2dtan", 0.4),
        ("tan", "tacos_tall", 0.4),
        ("tan", "jsonl", 0.5),
        ("ms-tan", "charades_sta", 0.49),
        ("ms-tan", "tacos_2dtan", 0.49),
        ("mmn", "charades_sta", 0.5),
        ("mmn", "activitynet", 0.5),
        ("mmn", "tacos_2dtan", 0.4),
        ("mmn", "didemo", 0.5),
        ("vslnet", "charades_sta", None),
        ("moment-detr", "qvhighlights", None),
    ],
)
def test_thresholds_of_datasets(name, dataset, threshold):
    assert protocol(name, dataset).nms_threshold == threshold


def test_rounding_of_datasets():
    assert protocol("moment-detr").rounding == Rounding(2.0, 150.0)
    assert protocol("moment-detr", "qvhighlights").rounding == Rounding(2.0, 150.0)
    assert protocol("moment-detr", "charades_sta").rounding == Rounding(1.0, 150.0)
    assert protocol("moment-detr", "activitynet").rounding == Rounding(2.0, None)
    assert protocol("moment-detr", "didemo").rounding is None


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dataset", DATASETS)
def test_every_protocol_takes_every_dataset(name, dataset):
    rules = protocol(name, dataset)
    assert (rules.name, rules.hit) == (name, protocol(name).hit)
    assert rules.notes()[0].startswith(f"{name}: a hit is tIoU {rules.hit} m")
    note = part_note(name, dataset, "train")
    assert note is None or "train" in note or dataset in note


def test_typos_list_the_names():
    with pytest.raises(ConfigError, match=r"'vslent' is unknown: expected one of vslnet, tan, ms-"):
        protocol("vslent")
    with pytest.raises(ConfigError, match=r"dataset 'tacos' is unknown: expected one of charades"):
        protocol("tan", "tacos")


def test_notes_say_how_it_counts_and_what_is_not_reported():
    assert protocol("tan", "charades_sta").notes() == ["tan: a hit is tIoU > m, NMS at tIoU > 0.45"]
    snag = protocol("snag").notes()
    assert snag[0] == (
        "snag: a hit is tIoU >= m, soft-NMS with sigma 0.9, voting at tIoU >= 0.95, scores below "
        "0.001 dropped, at most 5 moments a query"
    )
    assert snag[1].startswith("mIoU: not reported by the authors of snag")
    assert protocol("moment-detr").notes() == [
        "moment-detr: a hit is tIoU >= m, times rounded to multiples of 2 s, at most 10 moments a "
        "query",
        "R@5 and mIoU: not reported by the authors of moment-detr, computed here by the rules that "
        "all protocols share",
    ]
    assert "R@5: not reported by the authors of vslnet" in protocol("vslnet").notes()[1]


@pytest.mark.parametrize(
    ("name", "dataset", "split"),
    [
        ("vslnet", "activitynet", "val_1"),
        ("vslnet", "activitynet", "val"),  # 2D-TAN's name of val_1
        ("tan", "activitynet", "val_2"),
        ("tan", "activitynet", "test"),
        ("ms-tan", "activitynet", "val_2"),
        ("mmn", "activitynet", "val_2"),
        ("snag", "activitynet", "val_2"),
        ("lgi", "activitynet", "val_merged"),
        ("moment-detr", "activitynet", "val_1"),
        ("moment-detr", "qvhighlights", "val"),
        ("moment-detr", "qvhighlights", "test"),
        ("vslnet", "tacos_tall", "test"),
        ("vslnet", "jsonl", "test"),  # nothing is known
        ("lgi", "tacos_2dtan", "test"),
    ],
)
def test_the_right_part_needs_no_note(name, dataset, split):
    assert part_note(name, dataset, split) is None


@pytest.mark.parametrize(
    ("name", "dataset", "split", "note"),
    [
        (
            "vslnet",
            "activitynet",
            "val_2",
            "vslnet tests on val_1; this is val_2: numbers of the two parts do not compare",
        ),
        ("vslnet", "activitynet", "test", "vslnet tests on val_1; this is val_2: "),
        ("tan", "activitynet", "val", "tan tests on val_2; this is val_1: "),
        ("lgi", "activitynet", "val_2", "lgi tests on val_merged; this is val_2: "),
        ("moment-detr", "qvhighlights", "train", "moment-detr tests on val and test; this is "),
        (
            "tan",
            "tacos_tall",
            "test",
            "tan has numbers on tacos_2dtan; this is tacos_tall: they do not compare",
        ),
        ("vslnet", "charades_cd", "test_ood", "vslnet has numbers on charades_sta; this is ch"),
    ],
)
def test_another_part_is_named(name, dataset, split, note):
    assert part_note(name, dataset, split).startswith(note)


def test_names_are_checked_without_torch():
    code = "import sys, bpnet.evaluation.protocols; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


# One case each that tells a protocol from its neighbours. ---------------------------------------


# tIoU of exactly m, in numbers that floats hold exactly: 3/10, 5/10, 7/10.
@pytest.mark.parametrize(("end", "threshold"), [(3.0, 0.3), (5.0, 0.5), (7.0, 0.7)])
@pytest.mark.parametrize("name", NAMES)
def test_exactly_on_the_threshold(name, end, threshold):
    rules = protocol(name, "jsonl")  # no rounding
    answers, targets = [[(0.0, end)]], [(0.0, 10.0)]
    metrics = localization_metrics(answers, targets, rules, thresholds=(threshold,))
    expected = 0.0 if name in STRICT else 100.0
    assert metrics[f"R@1,IoU={threshold}"] == metrics[f"R@5,IoU={threshold}"] == expected
    assert metrics["mIoU"] == 100 * threshold
    recall = oracle_recall(answers, targets, ks=(1,), thresholds=(threshold,), protocol=rules)
    assert recall == {f"R@1,IoU={threshold}": expected}


@pytest.mark.parametrize("name", NAMES)
def test_just_above_the_threshold_hits_everywhere(name):
    metrics = localization_metrics([[(0.0, 5.25)]], [(0.0, 10.0)], protocol(name, "jsonl"))
    assert metrics["R@1,IoU=0.5"] == 100.0


SUPPRESSING = {
    "tan on TACoS": protocol("tan", "tacos_2dtan"),  # .4
    "mmn on TACoS": protocol("mmn", "tacos_2dtan"),  # .4
    "tan on Charades": protocol("tan", "charades_sta"),  # .45
    "ms-tan": protocol("ms-tan", "charades_sta"),  # .49
    "tan on ActivityNet": protocol("tan", "activitynet"),  # .5
    "mmn on ActivityNet": protocol("mmn", "activitynet"),  # .5
}


@pytest.mark.parametrize(
    ("percent", "num_keeping"), [(40, 6), (41, 4), (45, 4), (46, 3), (49, 3), (50, 2), (51, 0)]
)
def test_which_near_copies_stay(percent, num_keeping):
    """The right answer is second and overlaps the first; exactly at the threshold it stays."""
    moments, targets = [(0.0, 100.0), (0.0, float(percent))], [(0.0, float(percent))]
    kept = [
        name
        for name, rules in SUPPRESSING.items()
        if localization_metrics([moments], targets, rules)["R@5,IoU=0.7"] == 100.0
    ]
    assert kept == list(SUPPRESSING)[6 - num_keeping :]


def test_suppression_trades_the_later_ranks():
    # Five near-copies of a wrong answer hide the right one from R@5, unless they are suppressed.
    wrong = [(0.0, 10.0 + place / 10) for place in range(5)]
    answers, targets = [[*wrong, (50.0, 60.0)]], [(50.0, 60.0)]
    scores = [[0.9, 0.8, 0.7, 0.6, 0.5, 0.4]]
    found = {
        name: localization_metrics(answers, targets, protocol(name, "jsonl"), scores=scores)
        for name in NAMES
    }
    right = {name for name in NAMES if found[name]["R@5,IoU=0.7"] == 100.0}
    assert right == {"tan", "ms-tan", "mmn", "snag"}
    # The better copy, 10/10, goes where it overlaps the first by 10/12 ...
    answers, targets = [[(0.0, 12.0), (0.0, 10.0)]], [(0.0, 10.0)]
    found = {
        name: localization_metrics(
            answers, targets, protocol(name, "jsonl"), thresholds=(0.9,), scores=[[0.9, 0.8]]
        )
        for name in NAMES
    }
    right = {name for name in NAMES if found[name]["R@5,IoU=0.9"] == 100.0}
    assert right == {"vslnet", "lgi", "snag", "moment-detr"}
    # ... and the first moment always stays.
    assert {name: found[name]["mIoU"] for name in NAMES} == pytest.approx(
        dict.fromkeys(NAMES, 100 * 10 / 12)
    )


def test_snags_voting_moves_even_the_first_moment():
    # 0..20 and 0..19 overlap by .95: the mean of their ends, weighted 3 to 1, is 19.75.
    answers, scores = [[(0.0, 20.0), (0.0, 19.0)]], [[0.6, 0.2]]
    targets, exactly = [(0.0, 39.5)], (0.5,)  # 19.75 / 39.5
    for name in NAMES:
        rules = protocol(name, "jsonl")
        metrics = localization_metrics(answers, targets, rules, ranks=(1,), scores=scores)
        assert metrics["mIoU"] == pytest.approx(50.0 if name == "snag" else 100 * 20 / 39.5)
    voted = rank(answers, protocol("snag"), 5, scores)
    assert voted.moments.seconds[0].tolist() == [[0.0, 19.75], [0.0, 19.75]]
    decay = np.exp(-(0.95**2) / 0.9)
    assert voted.scores[0].tolist() == pytest.approx([0.6, 0.2 * decay])
    snag = localization_metrics(answers, targets, protocol("snag"), (1,), exactly, scores)
    assert snag["R@1,IoU=0.5"] == 100.0


def test_snag_trades_rank_one_for_the_later_ranks():
    # Voting moves the first moment from 0..20 to 0..19.75, just too short for half of 39.9 s; the
    # right answer, seventh, rises above the near-copies of the first.
    copies = [(0.0, 17.0 + place / 10) for place in range(4)]
    answers = [[(0.0, 20.0), (0.0, 19.0), *copies, (0.0, 39.9)]]
    scores, targets = [[0.6, 0.2, 0.19, 0.18, 0.17, 0.16, 0.15]], [(0.0, 39.9)]
    found = {
        name: localization_metrics(answers, targets, protocol(name, "jsonl"), scores=scores)
        for name in ("vslnet", "snag")
    }
    first = {name: metrics["R@1,IoU=0.5"] for name, metrics in found.items()}
    later = {name: metrics["R@5,IoU=0.7"] for name, metrics in found.items()}
    assert first == {"vslnet": 100.0, "snag": 0.0}
    assert later == {"vslnet": 0.0, "snag": 100.0}


def test_snag_reorders_by_decayed_scores():
    # The second is nearly the first, and falls behind the third: .5 exp(-.81/.9) = .203 < .3.
    answers, scores = [[(0.0, 10.0), (0.0, 9.0), (20.0, 30.0)]], [[0.6, 0.5, 0.3]]
    kept = rank(answers, protocol("snag"), 5, scores)
    assert kept.moments.seconds[0].tolist() == [[0.0, 10.0], [20.0, 30.0], [0.0, 9.0]]
    assert kept.scores[0].tolist() == pytest.approx([0.6, 0.3, 0.5 * np.exp(-0.9)])


def test_snag_keeps_five_and_drops_what_decays_below_its_floor():
    answers = [[(10.0 * place, 10.0 * place + 5) for place in range(7)], [(0.0, 9.0), (20.0, 21.0)]]
    scores = [[0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3], [0.5, 0.0009]]
    kept = rank(answers, protocol("snag"), 100, scores).moments.mask.sum(axis=1)
    assert kept.tolist() == [5, 1]


def test_snag_needs_scores_that_can_decay():
    answers, targets = [[(0.0, 1.0), (1.0, 2.0)]], [(0.0, 1.0)]
    with pytest.raises(AnnotationError, match="protocol 'snag' decays scores, but there are none"):
        localization_metrics(answers, targets, protocol("snag"))
    with pytest.raises(AnnotationError, match=r"query number 0: -0\.5: .* expected scores >= 0"):
        localization_metrics(answers, targets, protocol("snag"), scores=[[0.5, -0.5]])
    # A single moment has nothing to be suppressed by.
    assert localization_metrics([[(0.0, 1.0)]], targets, protocol("snag"))["mIoU"] == 100.0


def test_moment_detr_rounds_to_whole_clips():
    # 3.1..8.9 s becomes 4..8 s; against 4..8 s that is 1, and unrounded 4/5.8.
    answers, targets = [[(3.1, 8.9)]], [(4.0, 8.0)]
    for name in NAMES:
        metrics = localization_metrics(answers, targets, protocol(name, "qvhighlights"))
        assert metrics["mIoU"] == pytest.approx(100.0 if name == "moment-detr" else 400 / 5.8)
    # Half goes to the even multiple, after four decimals: 3 -> 4, 5 -> 4, 2.99996 -> 3 -> 4.
    rounding = Rounding(2.0, 150.0)
    times = np.array([3.0, 5.0, 2.99996, 2.9999, -1.5, 152.0])
    assert round_times(times, rounding).tolist() == [4.0, 4.0, 4.0, 2.0, 0.0, 150.0]
    assert round_times(np.array([152.0, -3.0]), Rounding(2.0, None)).tolist() == [152.0, -4.0]


def test_moment_detr_rounds_a_short_answer_away():
    # 2.6..3.4 s becomes 2..4 s, but 2.2..2.9 s becomes the point 2..2, which overlaps nothing.
    rules = protocol("moment-detr", "qvhighlights")
    metrics = localization_metrics([[(2.6, 3.4)], [(2.2, 2.9)]], [(2.0, 4.0)] * 2, rules)
    assert metrics["mIoU"] == 50.0


def test_moment_detr_takes_the_best_target_and_ten_moments():
    rules = protocol("moment-detr", "qvhighlights")
    targets = [[(0.0, 10.0), (20.0, 40.0)]]
    metrics = localization_metrics([[(20.0, 34.0)]], targets, rules)
    assert metrics["R@1,IoU=0.7"] == 100.0  # 14/20 of the second
    eleventh = [[(60.0, 62.0)] * 10 + [(0.0, 10.0)]]
    assert mean_average_precision(eleventh, targets, rules)["mAP"] == 0.0


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_prediction_is_a_miss(name):
    rules = protocol(name, "qvhighlights")
    metrics = localization_metrics(
        [[], [(0.0, 10.0)]], [(0.0, 10.0)] * 2, rules, thresholds=(0.0, 0.5), scores=[[], [0.5]]
    )
    assert metrics["R@1,IoU=0.5"] == metrics["R@5,IoU=0.5"] == metrics["mIoU"] == 50.0
    assert metrics["R@1,IoU=0"] == 50.0


@pytest.mark.parametrize("name", NAMES)
def test_fewer_than_n_moments_count_as_they_are(name):
    rules = protocol(name, "jsonl")
    answers = [[(50.0, 60.0), (0.0, 10.0)]]
    metrics = localization_metrics(answers, [(0.0, 10.0)], rules, (1, 2, 5), scores=[[0.6, 0.5]])
    assert (metrics["R@1,IoU=0.5"], metrics["R@2,IoU=0.5"], metrics["R@5,IoU=0.5"]) == (0, 100, 100)


@pytest.mark.parametrize("name", NAMES)
def test_ties_keep_the_order_that_was_given(name):
    rules = protocol(name, "jsonl")
    for answers in ([(0.0, 10.0), (50.0, 60.0)], [(50.0, 60.0), (0.0, 10.0)]):
        metrics = localization_metrics([answers], [(0.0, 10.0)], rules, scores=[[0.5, 0.5]])
        assert metrics["R@1,IoU=0.7"] == 100.0 * (answers[0] == (0.0, 10.0))
        assert metrics["R@5,IoU=0.7"] == 100.0


def test_lgis_mean_is_that_of_the_first_moment():
    answers, targets = [[(50.0, 60.0), (0.0, 10.0)]], [(0.0, 10.0)]
    assert localization_metrics(answers, targets, protocol("lgi"))["mIoU"] == 0.0


def test_oracle_recall_does_not_suppress():
    answers, targets = [[(0.0, 12.0), (0.0, 10.0)]], [(0.0, 10.0)]
    for name in NAMES:
        rules = protocol(name, "jsonl")
        recall = oracle_recall(answers, targets, ks=(2,), thresholds=(0.9,), protocol=rules)
        assert recall == {"R@2,IoU=0.9": 100.0}


def test_oracle_recall_rounds_as_the_answers_are_rounded():
    rules = protocol("moment-detr", "qvhighlights")
    recall = oracle_recall([[(3.1, 8.9)]], [(4.0, 8.0)], (1,), (0.9,), rules)
    assert recall == {"R@1,IoU=0.9": 100.0}
