"""The optimizer: AdamW with a rate of its own for some variables."""

import keras


@keras.saving.register_keras_serializable("landslide")
class ScaledAdamW(keras.optimizers.AdamW):
    """AdamW (Loshchilov & Hutter 2019, arXiv 1711.05101) whose rate is multiplied by a factor for some variables.

    Pre-trained weights want smaller steps than new ones. Weight decay is not scaled.

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
