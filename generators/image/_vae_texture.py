"""What fine texture does a blurry picture lack, and how is it drawn?

What an autoencoder cannot read back looks like noise, but not like white noise: brushed metal has its grain. Its spectrum is
measured on the training pictures, and noise of that spectrum is added to what is drawn; it has no sharp forms."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Texture(nn.Module):
    """The mean spectrum of what was not read back, and how its channels go together. It holds no picture.

    gain: (channels, side, side // 2 + 1), amplitude of each frequency; mix: (channels, channels)."""

    gain: Tensor
    mix: Tensor

    def __init__(self, channels: int, side: int) -> None:
        super().__init__()
        self.register_buffer("gain", torch.zeros(channels, side, side // 2 + 1))
        self.register_buffer("mix", torch.eye(channels))

    def learn(self, lacking: Tensor) -> None:
        """From differences (n, channels, side, side) between pictures and what was read back of them."""
        rows = lacking.double().transpose(0, 1).flatten(1)
        values, vectors = torch.linalg.eigh(rows @ rows.T / rows.shape[1])
        self.mix.copy_(vectors.float())
        # Channel by channel of their principal axes, where they are not correlated.
        turned = torch.einsum("ij,nihw->njhw", vectors, lacking.double())
        power = torch.fft.rfft2(turned, norm="ortho").abs().square().mean(dim=0)
        self.gain.copy_(power.sqrt().float())

    def drawn(self, noise: Tensor) -> Tensor:
        """Noise (n, channels, side, side), standard normal, as texture."""
        shaped = torch.fft.irfft2(torch.fft.rfft2(noise, norm="ortho") * self.gain, s=noise.shape[-2:], norm="ortho")
        return torch.einsum("ij,njhw->nihw", self.mix, shaped)
