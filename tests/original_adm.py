"""ADM as its authors lay it out (Dhariwal, Nichol 2021, appendix), written anew: what a converted file is held to.

Query, key and value of each head lie together in `qkv` ("legacy" order): head 0's q, k, v, then head 1's, ...
"""

import math

import torch
import torch.nn.functional as F
from torch import nn


class ResBlock(nn.Module):
    def __init__(self, before, after, emb, resample=None):
        super().__init__()
        self.resample = resample
        self.in_layers = nn.Sequential(nn.GroupNorm(32, before), nn.SiLU(), nn.Conv2d(before, after, 3, padding=1))
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(emb, 2 * after))
        self.out_layers = nn.Sequential(
            nn.GroupNorm(32, after), nn.SiLU(), nn.Identity(), nn.Conv2d(after, after, 3, padding=1)
        )
        self.skip_connection = nn.Identity() if before == after else nn.Conv2d(before, after, 1)

    def forward(self, x, emb):
        hidden = self.in_layers[:2](x)
        if self.resample == "down":
            hidden, x = F.avg_pool2d(hidden, 2), F.avg_pool2d(x, 2)
        elif self.resample == "up":
            hidden, x = (F.interpolate(value, scale_factor=2, mode="nearest") for value in (hidden, x))
        hidden = self.in_layers[2](hidden)
        scale, shift = self.emb_layers(emb)[:, :, None, None].chunk(2, dim=1)
        hidden = self.out_layers[0](hidden) * (1 + scale) + shift
        return self.skip_connection(x) + self.out_layers[1:](hidden)


class Attention(nn.Module):
    def __init__(self, channels, head):
        super().__init__()
        self.heads = channels // head
        self.norm = nn.GroupNorm(32, channels)
        self.qkv = nn.Conv1d(channels, 3 * channels, 1)
        self.proj_out = nn.Conv1d(channels, channels, 1)

    def forward(self, x, emb):
        count, channels, *size = x.shape
        flat = x.flatten(2)
        per_head = self.qkv(self.norm(flat)).reshape(count * self.heads, 3 * channels // self.heads, -1)
        query, key, value = per_head.chunk(3, dim=1)
        weights = torch.einsum("bct,bcs->bts", query, key).div(math.sqrt(query.shape[1])).softmax(dim=-1)
        attended = torch.einsum("bts,bcs->bct", weights, value).reshape(count, channels, -1)
        return (flat + self.proj_out(attended)).reshape(count, channels, *size)


class Plain(nn.Conv2d):
    def forward(self, x, emb):
        return super().forward(x)


class OriginalADM(nn.Module):
    def __init__(self, width, multipliers, attention_from, head, layers):
        super().__init__()
        emb, levels = 4 * width, len(multipliers)
        self.width = width
        self.time_embed = nn.Sequential(nn.Linear(width, emb), nn.SiLU(), nn.Linear(emb, emb))
        channels, skips = width, [width]
        self.input_blocks = nn.ModuleList([nn.ModuleList([Plain(3, width, 3, padding=1)])])
        for level, multiplier in enumerate(multipliers):
            for _ in range(layers):
                parts = [ResBlock(channels, channels := multiplier * width, emb)]
                if level >= attention_from:
                    parts.append(Attention(channels, head))
                self.input_blocks.append(nn.ModuleList(parts))
                skips.append(channels)
            if level < levels - 1:
                self.input_blocks.append(nn.ModuleList([ResBlock(channels, channels, emb, "down")]))
                skips.append(channels)
        self.middle_block = nn.ModuleList(
            [ResBlock(channels, channels, emb), Attention(channels, head), ResBlock(channels, channels, emb)]
        )
        self.output_blocks = nn.ModuleList()
        for level, multiplier in reversed(list(enumerate(multipliers))):
            for layer in range(layers + 1):
                parts = [ResBlock(channels + skips.pop(), channels := multiplier * width, emb)]
                if level >= attention_from:
                    parts.append(Attention(channels, head))
                if level and layer == layers:
                    parts.append(ResBlock(channels, channels, emb, "up"))
                self.output_blocks.append(nn.ModuleList(parts))
        self.out = nn.Sequential(nn.GroupNorm(32, channels), nn.SiLU(), nn.Conv2d(channels, 6, 3, padding=1))

    def forward(self, x, timesteps):
        half = self.width // 2
        angles = timesteps[:, None] * torch.exp(-math.log(10_000) * torch.arange(half) / half)[None]
        emb = self.time_embed(torch.cat([angles.cos(), angles.sin()], dim=1))
        skips = []
        for block in self.input_blocks:
            for part in block:
                x = part(x, emb)
            skips.append(x)
        for part in self.middle_block:
            x = part(x, emb)
        for block in self.output_blocks:
            x = torch.cat([x, skips.pop()], dim=1)
            for part in block:
                x = part(x, emb)
        return self.out(x)
