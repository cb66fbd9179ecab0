"""DERI of the published sizes in PyTorch, written from its description (IJCAI 2025): tokens of a residual network, aligned, and both
decoders; hidden states of texts are given. Parameters have the published names, without what nothing uses."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

TOKENS, KEPT, WORDS, WIDTH, TEXT = 105, 94, 256, 256, 768


class Block(nn.Module):
    """Two convolutions of three samples."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv1d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm1d(outputs)
        self.conv2 = nn.Conv1d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm1d(outputs)
        other = stride > 1 or inputs != outputs
        self.shortcut = nn.Sequential(
            *([nn.Conv1d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm1d(outputs)] if other else [])
        )

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class ResNet(nn.Module):
    """ResNet-18 over time, without pooling."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv1d(12, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm1d(64)
        width = 64
        for stage, outputs in enumerate((64, 128, 256, 512), start=1):
            blocks = [Block(width, outputs, 1 if stage == 1 else 2), Block(outputs, outputs, 1)]
            setattr(self, f"layer{stage}", nn.Sequential(*blocks))
            width = outputs

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        for stage in (1, 2, 3, 4):
            x = getattr(self, f"layer{stage}")(x)
        return x


def framed(tokens, positions, separator):
    """Positions are added, and a separator put in front of the tokens and behind them."""
    separator = separator.expand(len(tokens), 1, -1)
    return torch.cat([separator + positions[:, :1], tokens + positions[:, 1:-1], separator + positions[:, -1:]], 1)


class Frame(nn.Module):
    """Attention over tokens between separators."""

    def __init__(self, tokens, heads):
        super().__init__()
        self.positional_embedding = nn.Parameter(torch.randn(1, tokens + 2, WIDTH) / WIDTH)
        self.sep_embedding = nn.Parameter(torch.randn(WIDTH))
        self.mhsa = nn.MultiheadAttention(WIDTH, heads, batch_first=True)

    def forward(self, tokens):
        x = framed(tokens, self.positional_embedding, self.sep_embedding)
        return self.mhsa(x, x, x, need_weights=False)[0][:, 1:-1]


class Gated(nn.Module):
    def __init__(self, inputs, outputs, dropout):
        super().__init__()
        self.fc1, self.fc3 = nn.Linear(inputs, WIDTH), nn.Linear(inputs, WIDTH)
        self.fc2, self.dropout = nn.Linear(WIDTH, outputs), dropout

    def forward(self, x):
        drop = lambda x: F.dropout(x, self.dropout, self.training)
        return self.fc2(F.silu(drop(self.fc1(x))) * drop(self.fc3(x)))


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.to_qkv, self.to_out = nn.Linear(WIDTH, 3 * 512), nn.Sequential(nn.Linear(512, WIDTH))

    def forward(self, x):
        parts = self.to_qkv(x).unflatten(2, (3, 8, 64)).permute(2, 0, 3, 1, 4)
        return self.to_out(F.scaled_dot_product_attention(*parts).transpose(1, 2).flatten(2))


class PreNorm(nn.Module):
    def __init__(self, fn):
        super().__init__()
        self.norm, self.fn = nn.LayerNorm(WIDTH), fn

    def forward(self, x):
        return self.fn(self.norm(x))


class Layer(nn.Module):
    def __init__(self, drop_path):
        super().__init__()
        self.attn, self.ff, self.drop_path = PreNorm(Attention()), PreNorm(Gated(WIDTH, WIDTH, 0.0)), drop_path

    def dropped(self, x):
        if not self.training or not self.drop_path:
            return x
        kept = 1 - self.drop_path
        return x * torch.empty(len(x), 1, 1).bernoulli_(kept) / kept

    def forward(self, x):
        x = x + self.dropped(self.attn(x))
        return x + self.dropped(self.ff(x))


class Decoder(nn.Module):
    def __init__(self, tokens, outputs):
        super().__init__()
        self.to_patch = Gated(WIDTH, WIDTH, 0.2)
        self.pos_embedding = nn.Parameter(torch.randn(1, tokens + 2, WIDTH))
        self.sep_embedding = nn.Parameter(torch.randn(WIDTH))
        self.block0, self.block1 = Layer(0.0), Layer(0.1)
        self.norm, self.head = nn.LayerNorm(WIDTH), Gated(WIDTH, outputs, 0.2)

    def forward(self, tokens):
        x = framed(self.to_patch(tokens), self.pos_embedding, self.sep_embedding)
        return self.head(self.norm(self.block1(self.block0(x))[:, 1:-1]))


class Deri(nn.Module):
    def __init__(self):
        super().__init__()
        self.ecg_encoder = ResNet()
        self.downconv = nn.Conv1d(512, WIDTH, 1, 3)
        self.att_pool_head = Frame(TOKENS, 4)
        self.linear1, self.linear2 = Frame(KEPT, 2), Frame(KEPT, 2)
        self.decode_t, self.decode_e = Decoder(TOKENS + 1, TEXT), Decoder(WORDS, WIDTH)
        self.proj_t = nn.Sequential(nn.Linear(TEXT, WIDTH), nn.GELU(), nn.Linear(WIDTH, WIDTH))

    def state(self):
        return {name: own.numpy().astype(np.float32) for name, own in self.state_dict().items()}

    def tokens(self, signals):
        return self.downconv(self.ecg_encoder(signals)).transpose(1, 2)

    def decoded_text(self, aligned):
        separator = self.decode_e.sep_embedding.expand(len(aligned), 1, -1)
        return self.decode_t(torch.cat([aligned, separator], 1)).mean(1)

    def feature(self, signals):
        """The vector that zero-shot diagnosis and probes take, of tokens of length one."""
        aligned = F.normalize(self.att_pool_head(self.tokens(signals)), dim=2)
        return aligned.mean(1) + self.proj_t(self.decoded_text(aligned))

    def loss(self, batch):
        """All five terms; `views` says which tokens each view keeps."""
        tokens = self.tokens(batch["signals"])
        aligned = F.normalize(self.att_pool_head(tokens), dim=2)
        views = [
            own(tokens.gather(1, kept[:, :, None].expand(-1, -1, WIDTH))).mean(1)
            for own, kept in zip((self.linear1, self.linear2), batch["views"])
        ]
        text = F.normalize(self.proj_t(batch["pooled"]), dim=1)
        decoded_ecg = self.decode_e(self.proj_t(batch["states"])).mean(1)
        decoded_text = self.decoded_text(aligned)
        vector = aligned.mean(1)
        pairs = [
            (vector, text),
            (vector + self.proj_t(decoded_text), text + decoded_ecg),
            views,
            (tokens.mean(1), decoded_ecg),
            (batch["pooled"], decoded_text),
        ]
        return sum(contrastive(a, b) for a, b in pairs)


def contrastive(a, b):
    scores = F.normalize(a, dim=1) @ F.normalize(b, dim=1).T / 0.07
    own = torch.arange(len(a))
    return F.cross_entropy(scores, own) + F.cross_entropy(scores.T, own)
