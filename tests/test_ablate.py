"""ablate.py on a few tiny patches: runs, table and errors."""

import json
import shutil

import pytest

from experiments import ablate
from script import UserError
from tests.running import SMALL, assert_user_error, call_experiment, record, rows, run_script


@pytest.mark.slow
def test_runs_are_compared_with_the_baseline_and_not_repeated(flat, monkeypatch, capsys):
    workdir = flat.parent
    monkeypatch.chdir(workdir)
    monkeypatch.setitem(ablate.CHANGES, "baseline", " ".join(SMALL))

    def call(**constants):
        settings = {"FACTORS": ("baseline", "flips only"), "EPOCHS": 1, "TIMED_STEPS": 0}
        call_experiment(ablate, monkeypatch, **settings | constants)
        return capsys.readouterr().out

    call(TIMED_STEPS=1)
    table = {row["factor"]: row for row in rows(workdir / "results/ablation.csv")}
    dice = {
        factor: record(workdir, "threshold.json", f"ablation/{name}-0")["dice"]
        for factor, name in (("baseline", "baseline"), ("flips only", "flips_only"))
    }
    assert set(table) == set(dice)
    for factor, row in table.items():
        assert float(row["validation_dice"]) == pytest.approx(dice[factor], abs=1e-4)
        assert float(row["gain"]) == pytest.approx(dice[factor] - dice["baseline"], abs=1e-4)
        assert float(row["trained_patches_per_s"]) > 0 and float(row["predicted_patches_per_s"]) > 0
    assert record(workdir, "config.json", "ablation/flips_only-0")["constants"]["AUGMENT"] == ["flips"]
    assert (workdir / "results/ablation.png").exists()

    assert call().count("already trained") == 2
    runs_dir = workdir / "results/ablation"
    (runs_dir / "flips_only-0").rename(workdir / "elsewhere")
    call(FACTORS=("baseline",))
    assert {row["factor"]: row for row in rows(workdir / "results/ablation.csv")} == table

    # a second seed is added to the row although the run of the first is absent
    shutil.copytree(workdir / "elsewhere", runs_dir / "flips_only-1")
    config = record(workdir, "config.json", "ablation/flips_only-1")
    config["seed"] = config["constants"]["SEED"] = 1
    (runs_dir / "flips_only-1/config.json").write_text(json.dumps(config))
    (runs_dir / "flips_only-1/threshold.json").write_text('{"dice": 0.9}')
    call(FACTORS=("flips only",), SEEDS=(1,))
    row = next(row for row in rows(workdir / "results/ablation.csv") if row["factor"] == "flips only")
    assert row["dice_of_seeds"] == f"0:{dice['flips only']:.4f} 1:0.9000" and row["seeds"] == "2"
    assert float(row["validation_dice"]) == pytest.approx((dice["flips only"] + 0.9) / 2, abs=1e-4)
    with pytest.raises(UserError, match="results/ablation/baseline-0 was trained with EPOCHS = 1, not 2"):
        call(EPOCHS=2)
    assert_user_error(
        run_script("experiments/ablate.py", "--factors", "luck", cwd=workdir), "--factors: 'luck' is none of baseline"
    )


def test_what_train_says_reaches_the_user(tmp_path):
    result = run_script("experiments/ablate.py", "--factors", "baseline", "--epochs", 1, cwd=tmp_path)
    assert_user_error(result, "baseline, seed 0: train.py", "no patches")
    assert_user_error(
        run_script("experiments/ablate.py", "--seeds", 0, -1, cwd=tmp_path), "--seeds is -1: it must be between 0 and"
    )
