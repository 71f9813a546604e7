"""What the runs of a task say together."""

from bert_mobile.evaluate.glue.record import summary


def run(rate, seed, figure, task="rte", status="finished", **more):
    figures = {"accuracy": figure}
    return {"task": task, "learning_rate": rate, "seed": seed, "status": status,
            "figures": figures, "followers": {}, **more}  # fmt: skip


def test_the_rate_of_the_best_median_is_chosen():
    runs = [run(1e-5, seed, value) for seed, value in ((1, 0.1), (2, 0.6), (3, 0.9))]
    runs += [run(5e-5, seed, value) for seed, value in ((1, 0.65), (2, 0.62), (3, 0.7))]
    found = summary(runs, "rte")
    assert (found.learning_rate, found.failed) == (5e-5, 0)
    assert found.figures == {"accuracy": [0.62, 0.65, 0.7]}
    assert found.best["seed"] == 3


def test_a_rate_that_fails_comes_after_one_that_does_not():
    runs = [run(1e-5, 1, 0.5), run(1e-5, 2, 0.5), run(1e-3, 1, 0.9)]
    runs.append({**run(1e-3, 2, 0.0, status="failed"), "error": "nan"})
    assert summary(runs, "rte").learning_rate == 1e-5
    alone = summary(runs[2:], "rte")
    assert (alone.learning_rate, alone.failed) == (1e-3, 1)


def test_nothing_is_said_where_all_failed():
    assert summary([run(1e-5, 1, 0.0, status="failed")], "rte") is None
    assert summary([], "rte") is None


def test_followers_are_summed_up_at_the_rate_of_the_trained_task():
    runs = [
        run(rate, 1, own, task="mnli", followers={"mnli-mm": {"figures": {"accuracy": mm}}})
        for rate, own, mm in ((1e-5, 0.5, 0.9), (5e-5, 0.6, 0.4))
    ]
    assert summary(runs, "mnli", "mnli-mm").figures == {"accuracy": [0.4, 0.4, 0.4]}
    assert summary(runs, "mnli", "hans") is None
