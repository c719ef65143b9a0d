"""PrefixTree: what is shared, who keeps it, what is dropped, and when a plan is good."""

from __future__ import annotations

import gc
import threading
import weakref

import pytest
import torch
from torch import Tensor

from bpnet.attention import KVLayout, Node, PrefixTree, attend
from bpnet.attention.node import Sequence
from bpnet.attention.prefix_tree import NUM_KEPT_PLANS
from bpnet.errors import AttentionError, CacheFullError

LAYOUT = KVLayout(2, 1, 4)
TOKEN = LAYOUT.token_bytes  # 64 bytes


def block(num_tokens: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    k, v = torch.randn(2, 2, 1, num_tokens, 4, generator=generator)
    return k, v


def names(text: str) -> list[bytes]:
    return [letter.encode() for letter in text]


def insert(tree: PrefixTree, text: str, parent: Node | None = None, extend: bool = False) -> Node:
    """Chunks of 4 tokens, one a letter; the content depends on the letter alone."""
    k = torch.cat([block(4, ord(letter))[0] for letter in text], dim=2)
    v = torch.cat([block(4, ord(letter))[1] for letter in text], dim=2)
    return tree.insert(parent, names(text), k, v, extend=extend)


def content(node: Node | None) -> Tensor:
    assert node is not None
    return torch.cat([above.view() for above in node.ancestry()][::-1], dim=3)


def test_a_token_takes_layers_times_two_times_width() -> None:
    assert TOKEN == 2 * 2 * 4 * 4
    # The design's example: 4 layers of width 128 in single precision, 4 KiB a clip.
    assert KVLayout(4, 4, 32).token_bytes == 4096


def test_shared_chunks_are_stored_once() -> None:
    tree = PrefixTree(LAYOUT, chunk=4)
    first = insert(tree, "abcd")
    before = content(first).clone()
    second = insert(tree, "abxy")
    assert tree.stats().num_tokens == 4 * 6
    assert (tree.stats().hits, tree.stats().misses) == (8, 16 + 8)
    assert tree.stats().bytes == 24 * TOKEN
    # The first was split, without a copy, and its handle still means all four chunks.
    assert torch.equal(content(first), before) and torch.equal(first.path_view(), before)
    assert first.parent is second.parent is not None
    assert first.parent.path_view().data_ptr() == first.store.data.data_ptr()  # not copied
    assert first.parent.store is first.store
    assert tree.match(names("abxq"))[1] == tree.match(names("abc"))[1] == 12
    assert tree.stats().hits == 8 + 12 + 12
    assert tree.match(names("zz")) == (None, 0)
    assert insert(tree, "abcd") is first


def test_a_whole_video_is_matched_or_not() -> None:
    """One key for many chunks cannot be shared in part."""
    tree = PrefixTree(LAYOUT, chunk=4)
    node = tree.insert(None, [b"video"], *block(11))
    assert tree.match([b"video"]) == (node, 11)
    assert tree.match([b"another"]) == (None, 0)
    query = tree.insert(node, [b"query"], *block(3))
    assert tree.match([b"query"], node) == (query, 3)
    assert tree.match([b"video", b"query"]) == (query, 14)
    assert tree.match([b"query"]) == (None, 0)


def test_memory_is_that_of_the_unique_tokens() -> None:
    """At most dense · (1 - r), and a chunk for each sequence's own tail."""
    tree = PrefixTree(LAYOUT, chunk=16)
    prompt = tree.insert(None, [b"prompt"], *block(1000))
    for number in range(32):
        sequence = tree.join(prompt)
        tree.append(sequence, *block(10, number))
    dense = 32 * 1010 * TOKEN
    r = 31 * 1000 / (32 * 1010)  # tokens that need not be stored again, of all
    assert tree.stats().bytes <= dense * (1 - r) + 32 * 16 * TOKEN
    assert tree.stats().bytes == (1000 + 32 * 16) * TOKEN


def test_fork_and_append() -> None:
    tree = PrefixTree(LAYOUT, chunk=4)
    first = tree.join()
    tree.append(first, *block(3, 1))
    plan = tree.plan([first])
    second = tree.fork(first)
    tree.append(first, *block(2, 2))
    assert not plan.is_current
    tree.append(second, *block(1, 3))
    k = torch.cat([block(3, 1)[0], block(2, 2)[0]], dim=2)
    assert torch.equal(content(first.node)[:, 0], k)
    k = torch.cat([block(3, 1)[0], block(1, 3)[0]], dim=2)
    assert torch.equal(content(second.node)[:, 0], k)
    plan = tree.plan([first, second])
    assert [(s.num_tokens, s.first, s.last) for s in plan.segments] == [
        (3, 0, 2), (2, 0, 1), (1, 1, 2),
    ]  # fmt: skip
    both, left, right = plan.segments
    assert plan.shared == (both,) and plan.private == ((left,), (right,))
    tree.release(first)
    assert torch.equal(content(second.node)[:, 0], k)
    tree.release(second)
    assert tree.stats().bytes == 0  # nobody could find a private tail
    for call in (tree.fork, tree.release, lambda released: tree.plan([released])):
        with pytest.raises(AttentionError, match="was released"):
            call(first)


def test_a_tail_grows_in_place() -> None:
    tree = PrefixTree(LAYOUT, chunk=4)
    sequence = tree.join(insert(tree, "a"))
    tree.append(sequence, *block(3, 1))
    tail = sequence.node
    tree.append(sequence, *block(4, 2))
    assert sequence.node is tail and sequence.num_tokens == 4 + 3 + 4
    k = torch.cat([block(3, 1)[0], block(4, 2)[0]], dim=2)
    assert torch.equal(content(sequence.node)[:, 0, :, 4:], k)


def test_a_sequence_that_is_released_is_forgotten() -> None:
    """A service opens one for every sentence."""
    tree = PrefixTree(LAYOUT, chunk=4)
    node = insert(tree, "a")
    tree.release(tree.join(node))
    assert not [one for one in gc.get_objects() if type(one) is Sequence and one.node is node]


def test_what_is_left_stays_until_the_room_is_needed() -> None:
    tree = PrefixTree(LAYOUT, chunk=4, budget_bytes=24 * TOKEN)
    a, b, c = (insert(tree, letters) for letters in ("aa", "bb", "cc"))
    assert tree.match(names("aa")) == (a, 8)  # b is now the one that was not used for longest
    d = insert(tree, "dd")
    assert [node.alive for node in (a, b, c, d)] == [True, False, True, True]
    assert tree.stats().evicted == 8
    tree.pin(c)
    sequence = tree.join(a)
    insert(tree, "e")
    assert [node.alive for node in (a, c, d)] == [True, True, False]
    message = (
        r"0\.00146 MiB are needed, and 0\.000977 of 0\.00146 MiB are in use by 2 pinned nodes "
        "and open sequences: release some, or raise budget_bytes"
    )
    with pytest.raises(CacheFullError, match=message):
        insert(tree, "ffffff")
    tree.release(sequence)
    tree.unpin(c)
    insert(tree, "ffffff")
    assert tree.stats().bytes == tree.stats().budget_bytes
    with pytest.raises(CacheFullError, match="by 0 pinned nodes"):
        insert(tree, "ggggggg")  # more than the budget: nothing is dropped for it
    assert tree.match(names("ffffff"))[1] == 24


def test_a_node_is_never_dropped_before_what_hangs_below_it() -> None:
    tree = PrefixTree(LAYOUT, chunk=4)
    video = insert(tree, "ab")
    query = insert(tree, "q", video)
    tree.pin(query)
    assert tree.evict(1 << 40) == 0
    tree.unpin(query)
    assert tree.evict(1) == 4 * TOKEN
    assert [video.alive, query.alive] == [True, False]
    assert tree.evict(1) == 8 * TOKEN
    assert tree.stats().num_nodes == 0


def test_who_uses_a_sequence_uses_what_it_begins_with() -> None:
    tree = PrefixTree(LAYOUT, chunk=4)
    prompt, other = insert(tree, "a"), insert(tree, "b")
    sequence = tree.join(prompt)
    tree.append(sequence, *block(1))
    tree.match(names("b"))
    tree.plan([sequence])
    tree.release(sequence)
    tree.evict(1)
    assert [prompt.alive, other.alive] == [True, False]


def test_storing_finding_and_pinning_are_uses() -> None:
    tree = PrefixTree(LAYOUT, chunk=4)
    a, b = insert(tree, "a"), insert(tree, "b")
    tree.match(names("a"))
    c = insert(tree, "c")
    tree.pin(b)
    tree.unpin(b)
    for node in (a, c, b):
        assert node.alive
        tree.evict(1)
        assert not node.alive


def test_growth_drops_no_more_than_it_needs() -> None:
    tree = PrefixTree(LAYOUT, chunk=4, budget_bytes=12 * TOKEN)
    other, sequence = insert(tree, "a"), tree.join()
    for num_tokens in (3, 2):
        tree.append(sequence, *block(num_tokens))
    assert other.alive
    assert tree.stats().bytes == tree.stats().budget_bytes
    tree.append(sequence, *block(4))
    assert not other.alive


def test_half_of_a_run_can_be_dropped() -> None:
    """The store is cut down to what is left, though the rest of it is in use."""
    tree = PrefixTree(LAYOUT, chunk=4)
    whole = insert(tree, "abcd")
    before = content(whole)[:, :, :, :8].clone()
    node, _ = tree.match(names("ab"))
    assert node is not None
    tree.pin(node)
    assert tree.evict(1) == 8 * TOKEN
    assert not whole.alive
    assert torch.equal(content(node), before)
    assert tree.stats().bytes == 8 * TOKEN


def test_a_stream_is_one_run() -> None:
    """Chunk after chunk equals the whole at once, and is read as one segment."""
    tree = PrefixTree(LAYOUT, chunk=4)
    node = None
    for letter in "abcdefghij":
        node = insert(tree, letter, node, extend=True)
    other = PrefixTree(LAYOUT, chunk=4)
    whole = insert(other, "abcdefghij")
    assert torch.equal(content(node), content(whole))
    plan = tree.plan([node] * 3)
    assert [one.num_tokens for one in plan.segments] == [40]
    assert tree.stats().bytes <= (40 * 1.25 + 4) * TOKEN
    q = torch.randn(3, 2, 4)
    assert torch.equal(attend(q, plan, 1), attend(q, other.plan([whole] * 3), 1))
    # What was asked about a shorter video hangs below that part of it.
    early, _ = tree.match(names("abc"))
    query = insert(tree, "q", early)
    assert query.path_tokens == 16


def test_no_more_of_a_stream_is_dropped_than_is_asked_for() -> None:
    """What its store had taken for growth goes too, and counts."""
    tree = PrefixTree(LAYOUT, chunk=4)
    nodes = [insert(tree, "a")]
    for letter in "bcdef":
        nodes.append(insert(tree, letter, nodes[-1], extend=True))
    room = tree.stats().bytes // TOKEN - 6 * 4
    assert room > 0
    assert tree.evict(2 * TOKEN) == (room + 4) * TOKEN
    assert [node.alive for node in nodes] == [True] * 5 + [False]
    assert tree.evict(12 * TOKEN) == 12 * TOKEN
    assert [node.alive for node in nodes] == [True] * 2 + [False] * 4


def test_three_thousand_pieces_are_no_recursion() -> None:
    tree = PrefixTree(LAYOUT, chunk=1)
    node = None
    for number in range(3000):
        node = tree.insert(node, [str(number).encode()], *block(1))
    assert tree.plan([node]).num_sequences == 1
    assert tree.evict(1 << 40) == 3000 * TOKEN


def test_a_plan_is_good_until_the_tree_changes() -> None:
    tree = PrefixTree(LAYOUT, chunk=4)
    node = insert(tree, "abcd")
    q = torch.randn(2, 1, 4)
    plan = tree.plan([node, node])
    expected = attend(q, plan, 0)
    # Looking up, splitting, pinning and joining move nothing.
    tree.match(names("ab"))
    tree.pin(node)
    sequence = tree.join(node)
    assert tree.plan([node, node]) is plan
    assert torch.equal(attend(q, plan, 0), expected)
    for change in (
        lambda: insert(tree, "x"),
        lambda: tree.append(sequence, *block(1)),  # a tail of its own
        lambda: tree.append(sequence, *block(1)),  # which grows where it is
        lambda: tree.evict(1),
        lambda: tree.clear(),
    ):
        version = tree.version
        plan = tree.plan([node, sequence])
        change()
        assert tree.version > version
        with pytest.raises(AttentionError, match=f"stale: made for version {version} of the tree"):
            attend(q, plan, 0)
    tree = PrefixTree(LAYOUT, chunk=4)
    sequence, other = tree.join(), tree.join()
    tree.append(sequence, *block(1))
    tree.append(other, *block(1))
    plan = tree.plan([sequence])
    tree.release(other)
    assert not plan.is_current


def test_rows_of_the_caller_by_hand() -> None:
    """Sequences of one node stand together in a plan, and the caller's rows with them."""
    tree = PrefixTree(LAYOUT, chunk=4)
    a, b = insert(tree, "a"), insert(tree, "b")
    assert tree.plan([a, a, b], [1, 3, 2]).caller_rows() is None
    plan = tree.plan([a, b, a], [1, 2, 3])
    assert (plan.order, plan.rows, plan.offsets) == ((0, 2, 1), (1, 3, 2), (0, 1, 4, 6))
    places = plan.caller_rows()
    assert places is not None and places.tolist() == [0, 3, 4, 5, 1, 2]
    assert plan.caller_rows() is places  # worked out once
    assert plan.row_sequences().tolist() == [0, 1, 1, 1, 2, 2]


def test_old_plans_are_let_go() -> None:
    tree = PrefixTree(LAYOUT, chunk=4)
    node = insert(tree, "a")
    plans = [tree.plan([node], rows) for rows in range(1, NUM_KEPT_PLANS + 1)]
    assert [tree.plan([node], plan.rows) for plan in plans] == plans
    another = tree.plan([node, None])
    assert tree.plan([node], plans[0].rows) is not plans[0]
    assert tree.plan([node], plans[-1].rows) is plans[-1]
    assert tree.plan([node, None]) is another


def test_clear_and_go_on() -> None:
    tree = PrefixTree(LAYOUT, chunk=4)
    node = insert(tree, "ab")
    sequences = [tree.join(node) for _ in range(5)]
    tree.append(sequences[0], *block(1))
    memory = [weakref.ref(insert(tree, letter).store) for letter in "cd"]
    tree.join(tree.match(names("d"))[0])
    tree.clear()
    assert [one() for one in memory] == [None, None]
    stats = tree.stats()
    assert (stats.bytes, stats.num_nodes, stats.pinned_bytes) == (0, 0, 0)
    for call in (
        lambda: tree.append(sequences[0], *block(1)),
        lambda: tree.fork(sequences[1]),
        lambda: tree.release(sequences[2]),
        lambda: tree.plan([sequences[3]]),
    ):
        with pytest.raises(AttentionError, match="was released, or its tree cleared"):
            call()
    for call in (
        lambda: tree.join(node),
        lambda: tree.pin(node),
        lambda: tree.unpin(node),
        lambda: tree.plan([node]),
        lambda: tree.match([b"a"], node),
        lambda: insert(tree, "c", node),
    ):
        with pytest.raises(AttentionError, match="of 8 tokens is no longer in the tree"):
            call()
    assert insert(tree, "ab").path_tokens == 8


def test_pinned_bytes_count_each_token_once() -> None:
    tree = PrefixTree(LAYOUT, chunk=4)
    video = insert(tree, "abc")
    for letter in "xyz":
        tree.pin(insert(tree, letter, video))
    insert(tree, "w", video)
    assert tree.stats().pinned_bytes == (12 + 3 * 4) * TOKEN
    assert tree.stats().bytes == (12 + 4 * 4) * TOKEN


def test_inference_mode_and_outside_of_it() -> None:
    tree = PrefixTree(LAYOUT, chunk=4)
    with torch.inference_mode():
        sequence = tree.join(insert(tree, "ab"))
        tree.append(sequence, *block(1))
        attend(torch.randn(1, 1, 4), tree.plan([sequence]), 0, *torch.randn(2, 1, 1, 4))
    tree.append(sequence, *block(1))
    plan = tree.plan([sequence])
    with torch.inference_mode():
        attend(torch.randn(1, 1, 4), plan, 0, *torch.randn(2, 1, 1, 4))
    attend(torch.randn(1, 1, 4), plan, 0, *torch.randn(2, 1, 1, 4))


def test_several_threads() -> None:
    tree = PrefixTree(LAYOUT, chunk=4, budget_bytes=200 * TOKEN)
    failures: list[BaseException] = []

    def work(seed: int) -> None:
        try:
            for number in range(60):
                node = insert(tree, "ab" + chr(97 + (seed * 7 + number) % 26))
                sequence = tree.join(node) if node.alive else tree.join()
                tree.append(sequence, *block(2))
                tree.release(sequence)
        except AttentionError as err:
            # Between insert() and join() another thread may have needed the room.
            if "no longer" not in str(err):
                failures.append(err)
        except BaseException as err:
            failures.append(err)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert tree.stats().bytes <= 200 * TOKEN


def test_one_thread_at_a_time() -> None:
    """While one is inside, every call of another waits."""
    tree = PrefixTree(LAYOUT, chunk=4)
    node = insert(tree, "a")
    tree.pin(node)
    sequences = [tree.join(node) for _ in range(4)]
    calls = [
        lambda: tree.match(names("a")),
        lambda: insert(tree, "b"),
        lambda: tree.join(node),
        lambda: tree.append(sequences[0], *block(1)),
        lambda: tree.fork(sequences[1]),
        lambda: tree.release(sequences[2]),
        lambda: tree.pin(node),
        lambda: tree.unpin(node),
        lambda: tree.plan([sequences[3]]),
        lambda: tree.stats(),
        lambda: tree.evict(0),
    ]
    threads = [threading.Thread(target=call) for call in calls]
    with tree._lock:
        for thread in threads:
            thread.start()
        threads[-1].join(0.05)
        assert all(thread.is_alive() for thread in threads)
    for thread in threads:
        thread.join()
    last = threading.Thread(target=tree.clear)
    with tree._lock:
        last.start()
        last.join(0.05)
        assert node.alive
    last.join()
    assert not node.alive


def test_errors() -> None:
    tree = PrefixTree(LAYOUT, chunk=4)
    node = insert(tree, "ab")
    k, v = block(5)
    for name, arguments in {
        "num_layers=0": (0, 1, 4),
        "num_kv_heads=0": (1, 0, 4),
        "head_dim=0": (1, 1, 0),
        r"dtype=torch\.int64": (1, 1, 4, torch.int64),
    }.items():
        with pytest.raises(AttentionError, match=rf"KVLayout\.{name}: expected"):
            KVLayout(*arguments)
    with pytest.raises(AttentionError, match="PrefixTree: chunk=0: expected"):
        PrefixTree(LAYOUT, chunk=0)
    with pytest.raises(AttentionError, match="PrefixTree: budget_bytes=0: expected"):
        PrefixTree(LAYOUT, budget_bytes=0)
    with pytest.raises(AttentionError, match=r"keys have shape \(1, 1, 5, 4\): expected"):
        tree.insert(None, [b"k"], k[:1], v)
    with pytest.raises(AttentionError, match=r"values are torch\.float64 on cpu: expected"):
        tree.insert(None, [b"k"], k, v.double())
    with pytest.raises(AttentionError, match="5 keys and 4 values"):
        tree.insert(None, [b"k"], k, v[:, :, :4])
    with pytest.raises(AttentionError, match="keys require a gradient"):
        tree.insert(None, [b"k"], k.clone().requires_grad_(), v)
    with pytest.raises(AttentionError, match="3 keys for 5 tokens: expected one for all, or one a"):
        tree.insert(None, [b"1", b"2", b"3"], k, v)
    tree.insert(None, [b"k"], k, v)
    with pytest.raises(AttentionError, match="stored with 5 tokens, and 4 were given"):
        tree.insert(None, [b"k"], k[:, :, :4], v[:, :, :4])
    sequence = tree.join(node)
    tree.append(sequence, k, v)
    with pytest.raises(AttentionError, match="private tail of a sequence"):
        tree.insert(sequence.node, [b"x"], k, v)
    with pytest.raises(AttentionError, match="the node has no pin"):
        tree.unpin(insert(tree, "z"))
    with pytest.raises(AttentionError, match="a plan of no sequences"):
        tree.plan([])
    with pytest.raises(AttentionError, match="rows of 1 sequences: expected one number for 2"):
        tree.plan([node, node], [1])
    for rows in (0, [1, 0]):
        with pytest.raises(AttentionError, match="rows=0: each sequence must have"):
            tree.plan([node, node], rows)
    assert isinstance(sequence, Sequence)
