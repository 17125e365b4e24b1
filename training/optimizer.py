"""Compile a network with the loss, the metrics and the optimizer of train.py."""

import keras

from losses import BCEDice
from networks.model_files import all_layers
from training.keras_metrics import PooledDice, PooledIoU


def compile_network(model, constants, steps, keep_statistics=False):
    """Compile a network with the loss, metrics and optimizer of train.py.

    Args:
        model: the network. constants: of train.py, {NAME: value}. steps: batches in an epoch.
        keep_statistics: freeze batch normalisation, statistics and weights. This is for fine-tuning: the statistics of
            a few patches differ from those of the ground, and the running means of a short training lag behind.
    """
    if constants["FREEZE"] == "encoder":
        model.get_layer("encoder").trainable = False
    if keep_statistics:
        for layer in all_layers(model):
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.trainable = False
    rate, total = constants["LEARNING_RATE"], constants["EPOCHS"] * steps
    warmup = min(round(constants["WARMUP_EPOCHS"] * steps), total - 1)
    schedule = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=rate / max(warmup, 1),
        warmup_target=rate if warmup else None,
        warmup_steps=warmup,
        decay_steps=total - warmup,
    )
    encoder = model.get_layer("encoder").trainable_variables if constants["ENCODER"] else []
    factors = {variable.path: constants["ENCODER_RATE"] for variable in encoder}
    optimizer = ScaledAdamW(schedule, weight_decay=constants["WEIGHT_DECAY"], factors=factors)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    model.compile(
        optimizer=optimizer,
        loss=BCEDice.of_constants(constants),
        metrics=[PooledDice(name="dice"), PooledIoU(name="iou")],
    )
    optimizer.build(model.trainable_variables)  # if built in the first step, TensorFlow traces that step twice


@keras.saving.register_keras_serializable("landslide")
class ScaledAdamW(keras.optimizers.AdamW):
    """AdamW (Loshchilov & Hutter 2019, arXiv 1711.05101) whose rate is multiplied by a factor for some variables.

    Pre-trained weights need smaller steps than new ones. Weight decay is not scaled.

    Args:
        factors: {path of a variable: factor}; 1 for all others. Other arguments: see keras.optimizers.AdamW.
    """

    def __init__(self, *args, factors=None, **kwargs):
        super().__init__(*args, **kwargs)
        self.factors = factors or {}

    def build(self, variables):
        super().build(variables)
        self.scales = [self.factors.get(variable.path, 1.0) for variable in variables]

    def update_step(self, gradient, variable, learning_rate):
        scale = self.scales[self._get_variable_index(variable)]
        super().update_step(gradient, variable, learning_rate * scale)

    def get_config(self):
        return {**super().get_config(), "factors": self.factors}
