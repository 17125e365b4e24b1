"""Learning from another run, the teacher: its probabilities are the targets of patches without masks.

Where there is a mask, its values and the probabilities are averaged. With unlabelled patches this is self-training (Lee
2013, ICML workshop); with an ensemble as teacher and all masks it is distillation (Hinton et al. 2015, arXiv
1503.02531). Probabilities are not rounded to 0 and 1, so pixels of which the teacher is unsure have little influence.
"""

import numpy as np

import dataset
from networks.inference import predict
from networks.model_files import load_model
from patches import split_table
from script import UserError

BATCH_SIZE = 32  # patches predicted at once


class Teacher:
    """A finished run that labels the patches of another run, the student.

    Args:
        run: runs.Run of the teacher.
        patches, assigned: packing.Patches of the student, and the split of each. The teacher may use other bands.
        cache_dir, skip_bad: see `dataset.open_patches`.

    Raises:
        UserError: the teacher is not finished, cannot use these patches, or was trained on patches of the student's
            validation or test split.
    """

    def __init__(self, run, patches, assigned, cache_dir, skip_bad=False):
        if "finished" not in run.config:
            raise UserError(f"teacher {run.name} is not finished: python train.py --run {run.name} --resume")
        self.run, self.finished, self.assigned = run, run.config["finished"], assigned
        folders = [part.data_dir for part in patches.parts]
        self.patches, *_ = dataset.open_for_run(run, "all", folders, cache_dir, skip_bad, masks=False)
        if self.patches.names != patches.names:  # different files were left out
            raise UserError(f"teacher {run.name} cannot use the same patches of {patches.data_dir} as this run")
        split_table.check_held_out("teacher", run, patches, assigned)

    def targets(self, weight):
        """Compute the targets of the student: N x H x W uint8, 255 for certain landslide.

        Labelled pixels of training patches get weight x teacher + (1 - weight) x mask. Pixels without a label, and
        unlabelled patches, get the teacher alone. All other patches get 0. The teacher's probabilities are averaged
        over flips and turns.
        """
        model = load_model(self.run.folder)
        targets = np.zeros((len(self.patches), *self.patches.input_shape[:2]), np.uint8)
        indices = np.flatnonzero(np.isin(self.assigned, ("train", split_table.NO_MASK)))
        for batch, _, probabilities in predict(model, self.patches, indices, BATCH_SIZE, tta=True):
            masks = self.patches.read_masks(batch)
            labelled = (self.assigned[batch] == "train")[:, None, None] & (masks <= 1)
            weights, masks = np.where(labelled, weight, 1.0), np.where(labelled, masks, 0)
            targets[batch] = np.round(255 * (weights * probabilities + (1 - weights) * masks))
        return targets
