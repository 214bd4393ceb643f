"""What fine texture does a blurry picture lack, and how is it drawn?

What an autoencoder cannot read back looks like noise, but not like white noise: brushed metal has its grain. How much less of
each frequency there is in what was read back than in the training pictures is measured, and noise of that spectrum is added
to what is drawn; it has no sharp forms."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Texture(nn.Module):
    """The mean spectrum of what is missing, and how its channels go together. It holds no picture.

    gain: (channels, side, side // 2 + 1), amplitude of each frequency; mix: (channels, channels)."""

    gain: Tensor
    mix: Tensor

    def __init__(self, channels: int, side: int) -> None:
        super().__init__()
        self.register_buffer("gain", torch.zeros(channels, side, side // 2 + 1))
        self.register_buffer("mix", torch.eye(channels))

    def learn(self, real: Tensor, back: Tensor) -> None:
        """From pictures and what was read back of them, (n, channels, side, side)."""
        lacking = (real - back).double().transpose(0, 1).flatten(1)
        _, axes = torch.linalg.eigh(lacking @ lacking.T / lacking.shape[1])
        self.mix.copy_(axes.float())
        missing = _power(real.double(), axes) - _power(back.double(), axes)
        self.gain.copy_(missing.clamp(min=0).sqrt().float())

    def drawn(self, noise: Tensor) -> Tensor:
        """Noise (n, channels, side, side), standard normal, as texture."""
        shaped = torch.fft.irfft2(torch.fft.rfft2(noise, norm="ortho") * self.gain, s=noise.shape[-2:], norm="ortho")
        return torch.einsum("ij,njhw->nihw", self.mix, shaped)


def _power(pictures: Tensor, axes: Tensor) -> Tensor:
    """Mean power of each frequency along the axes of the channels, where they are not correlated."""
    turned = torch.einsum("ij,nihw->njhw", axes, pictures)
    power: Tensor = torch.fft.rfft2(turned, norm="ortho").abs().square().mean(dim=0)
    return power
