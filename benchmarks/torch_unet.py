"""The U-Nets of unet.py and encoders.py in PyTorch, untrained, for benchmarks only: same layers, so speeds compare."""

import torch
from torch import nn


class Block(nn.Module):
    """The block of `unet.conv_block`, plain or residual."""

    def __init__(self, entering, filters, residual):
        super().__init__()
        self.conv1 = nn.Conv2d(entering, filters, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(filters, filters, 3, padding=1, bias=False)
        self.norm1, self.norm2 = nn.BatchNorm2d(filters), nn.BatchNorm2d(filters)
        self.residual = residual
        self.shortcut = nn.Conv2d(entering, filters, 1) if residual and entering != filters else nn.Identity()

    def forward(self, x):
        y = torch.relu(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        return torch.relu(y + self.shortcut(x) if self.residual else y)


class UNet(nn.Module):
    """The network of `unet.build_unet` without its first and last layers: bands in, logits out; channels first."""

    def __init__(self, bands, base_filters, max_filters, depth=4, block="residual", stem=2, detail=16):
        super().__init__()
        filters = [min(base_filters * 2**level, max_filters) for level in range(depth + 1)]
        residual = block == "residual"
        depth -= stem - 1
        self.stem = nn.Conv2d(bands, filters[0], 4, stride=2, padding=1) if stem == 2 else None
        entering = [filters[0] if stem == 2 else bands, *filters[:depth]]
        self.down = nn.ModuleList(Block(entering[i], filters[i], residual) for i in range(depth + 1))
        self.rise = nn.ModuleList(nn.ConvTranspose2d(filters[i + 1], filters[i], 2, 2) for i in range(depth))
        self.up = nn.ModuleList(Block(2 * filters[i], filters[i], residual) for i in range(depth))
        if stem == 2:
            self.full_rise = nn.ConvTranspose2d(filters[0], detail, 2, 2)
            self.full_detail = nn.Conv2d(bands, detail, 3, padding=1)
            self.full = Block(2 * detail, detail, False)
        self.logit = nn.Conv2d(detail if stem == 2 else filters[0], 1, 1)

    def forward(self, image):
        x = self.stem(image) if self.stem else image
        skips = []
        for block in self.down[:-1]:
            x = block(x)
            skips.append(x)
            x = nn.functional.max_pool2d(x, 2)
        x = self.down[-1](x)
        for level in reversed(range(len(skips))):
            x = self.up[level](torch.cat([skips[level], self.rise[level](x)], 1))
        if self.stem:
            x = self.full(torch.cat([self.full_detail(image), self.full_rise(x)], 1))
        return self.logit(x)


class EncoderUNet(nn.Module):
    """The network of `encoders.build_encoder_unet`, patches enlarged twice: bands in, logits out; channels first.

    Raises:
        ModuleNotFoundError: timm, which has the encoder, is not installed.
    """

    def __init__(self, bands=3, filters=(128, 96, 64, 32)):
        super().__init__()
        import timm

        self.encoder = timm.create_model("tf_efficientnet_lite0", features_only=True, pretrained=False, in_chans=bands)
        *skips, entering = self.encoder.feature_info.channels()
        skip_channels = [*reversed(skips[1:]), skips[0] + bands]
        entering = [entering, *filters[:-1]]
        self.rise = nn.ModuleList(nn.ConvTranspose2d(a, b, 2, 2) for a, b in zip(entering, filters, strict=True))
        self.up = nn.ModuleList(Block(a + b, b, False) for a, b in zip(skip_channels, filters, strict=True))
        self.logit = nn.Conv2d(filters[-1], 1, 1)

    def forward(self, image):
        *skips, x = self.encoder(nn.functional.interpolate(image, scale_factor=2.0, mode="bilinear"))
        skips[0] = torch.cat([skips[0], image], 1)
        for skip, rise, block in zip(reversed(skips), self.rise, self.up, strict=True):
            x = block(torch.cat([skip, rise(x)], 1))
        return self.logit(x)


def bce_dice(logits, masks):
    """Compute the loss that train.py minimises by default: mean cross-entropy + Dice loss over the batch."""
    probability = torch.sigmoid(logits)
    dice = 1 - (2 * (probability * masks).sum() + 1) / (probability.sum() + masks.sum() + 1)
    return nn.functional.binary_cross_entropy_with_logits(logits, masks) + dice
