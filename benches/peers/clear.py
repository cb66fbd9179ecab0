"""CLEAR and its HUG head in plain PyTorch, as the released program computes them (arXiv 2512.24002).

Parameter names are those of the published state dict. `check_clear.py` compares with reference values.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

LEADS, BEATS, SAMPLES = 12, 15, 96
TOKENS = LEADS * BEATS


@dataclass
class Config:
    """Sizes; the defaults are CLEAR base."""

    embed_dim: int = 768
    depth: int = 12
    heads: int = 8
    mlp_dim: int = 1024
    decoder_embed_dim: int = 512
    decoder_depth: int = 4
    decoder_heads: int = 16
    dropout: float = 0.1
    mask_ratio: float = 0.8


class Attention(nn.Module):
    """`nn.MultiheadAttention` without its transpositions."""

    def __init__(self, dim, heads, dropout):
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.in_proj_weight = nn.Parameter(torch.empty(3 * dim, dim))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * dim))
        self.out_proj = nn.Linear(dim, dim)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, x, mask):  # [batch, length, dim]
        batch, length, dim = x.shape
        qkv = F.linear(x, self.in_proj_weight, self.in_proj_bias)
        q, k, v = qkv.view(batch, length, 3, self.heads, dim // self.heads).permute(2, 0, 3, 1, 4)
        p = self.dropout if self.training else 0.0
        heard = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=p)
        return self.out_proj(heard.transpose(1, 2).reshape(batch, length, dim))


class Layer(nn.Module):
    """Post-norm transformer layer with ReLU."""

    def __init__(self, dim, heads, mlp_dim, dropout):
        super().__init__()
        self.self_attn = Attention(dim, heads, dropout)
        self.norm1 = nn.LayerNorm(dim)
        self.ff = nn.Sequential(
            nn.Linear(dim, mlp_dim), nn.ReLU(), nn.Dropout(dropout), nn.Linear(mlp_dim, dim)
        )
        self.norm2 = nn.LayerNorm(dim)
        self.drop = nn.Dropout(dropout)

    def forward(self, x, mask):
        x = self.norm1(x + self.drop(self.self_attn(x, mask)))
        return self.norm2(x + self.drop(self.ff(x)))


class Stack(nn.Module):
    def __init__(self, depth, *layer):
        super().__init__()
        self.layers = nn.ModuleList(Layer(*layer) for _ in range(depth))

    def forward(self, x, mask):
        for layer in self.layers:
            x = layer(x, mask)
        return x


class TokenEmbed(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.tokenConv = nn.Conv1d(
            SAMPLES, dim, 3, padding=1, padding_mode="circular", bias=False
        )
        nn.init.normal_(self.tokenConv.weight, std=(2 / (3 * SAMPLES)) ** 0.5)

    def forward(self, tokens):  # [batch, token, sample]
        return self.tokenConv(tokens.transpose(1, 2)).transpose(1, 2)


class Table(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.embed = nn.Embedding(16, dim)

    def forward(self, index):
        return self.embed(index)


def encoder_mask(kept):
    """The 0/1 matrix that the program adds to the attention logits, CLS rows first."""
    length = LEADS + len(kept)
    mask = torch.zeros(length, length)
    mask[:LEADS] = 1.0
    start = 0
    for lead, count in enumerate(torch.bincount(kept // BEATS, minlength=LEADS).tolist()):
        mask[lead, start : start + count] = 0.0
        start += count
    return mask


def decoder_mask(hidden):
    """Which pairs may attend `[192, 192]`; `hidden` says which of the 180 tokens are masked."""
    token = torch.arange(TOKENS)
    lead, beat = token // BEATS, token % BEATS
    own_lead = torch.arange(LEADS)[:, None] == lead[None, :]
    same_beat = beat[:, None] == beat[None, :]
    seen = ~hidden
    tokens = torch.where(hidden[:, None], same_beat, seen[None, :].expand(TOKENS, TOKENS))
    top = torch.cat([torch.eye(LEADS, dtype=torch.bool), own_lead], dim=1)
    return torch.cat([top, torch.cat([own_lead.T, tokens], dim=1)])


def standardise(tokens):
    """Mean 0, variance 1 of every token."""
    mean = tokens.mean(-1, keepdim=True)
    return (tokens - mean) / (tokens.var(-1, keepdim=True) + 1e-6).sqrt()


class Clear(nn.Module):
    """Encoder and decoder."""

    def __init__(self, config=Config()):
        super().__init__()
        c = self.config = config
        d, dd = c.embed_dim, c.decoder_embed_dim
        self.cls_token = nn.Parameter(0.02 * torch.randn(LEADS, d))
        self.mask_token = nn.Parameter(0.02 * torch.randn(1, 1, dd))
        self.pos_embed = nn.Parameter(torch.randn(1, LEADS + TOKENS, d))
        self.decoder_pos_embed = nn.Parameter(torch.randn(1, LEADS + TOKENS, dd))
        self.token_embed = TokenEmbed(d)
        self.spa_embed = Table(d)
        self.tem_embed = Table(d)
        self.encoder_transformer = Stack(c.depth, d, c.heads, c.mlp_dim, c.dropout)
        self.decoder_transformer = Stack(c.decoder_depth, dd, c.decoder_heads, c.mlp_dim, c.dropout)
        self.decoder_embed = nn.Linear(d, dd)
        self.norm_layer = nn.LayerNorm(d)
        self.decoder_norm = nn.LayerNorm(dd)
        self.decoder_pred = nn.Linear(dd, SAMPLES)

    def encode(self, tokens, lead, time, order, kept):
        """CLS and kept tokens `[batch, 12 + kept, dim]`; `order` is a permutation of the 180 tokens."""
        x = self.token_embed(tokens) + self.spa_embed(lead) + self.tem_embed(time)
        x = x + self.pos_embed[:, LEADS:]
        keep = order[:kept]
        cls = self.cls_token + self.pos_embed[0, :LEADS]
        x = torch.cat([cls.expand(len(x), -1, -1), x[:, keep]], dim=1)
        return self.norm_layer(self.encoder_transformer(x, encoder_mask(keep)))

    def decode(self, encoded, order, kept):
        """A prediction for every token `[batch, 180, 96]`."""
        x = self.decoder_embed(encoded)
        batch, width = len(x), x.shape[-1]
        filler = self.mask_token.expand(batch, TOKENS - kept, width)
        tokens = torch.cat([x[:, LEADS:], filler], dim=1)[:, torch.argsort(order)]
        x = torch.cat([x[:, :LEADS], tokens], dim=1) + self.decoder_pos_embed
        hidden = torch.ones(TOKENS, dtype=torch.bool)
        hidden[order[:kept]] = False
        x = self.decoder_norm(self.decoder_transformer(x, decoder_mask(hidden)))
        return self.decoder_pred(x[:, LEADS:]), hidden

    def forward(self, tokens, lead, time, noise):
        """Reconstruction loss and predictions; `noise` `[180]` chooses the tokens that are kept."""
        tokens = standardise(tokens)
        order = torch.argsort(noise)
        kept = int(TOKENS * (1 - self.config.mask_ratio))
        predicted, hidden = self.decode(self.encode(tokens, lead, time, order, kept), order, kept)
        error = ((predicted - tokens) ** 2).mean(-1)
        return (error * hidden).sum() / (len(tokens) * hidden.sum()), predicted


class Expert(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(dim, dim))

    def forward(self, x):
        return self.net(x)


class Hug(nn.Module):
    """Lead groups, pairs of groups, all leads: the mean of the seven vectors."""

    def __init__(self, dim):
        super().__init__()
        self.level1_experts = nn.ModuleList(Expert(dim) for _ in range(3))
        self.level2_experts = nn.ModuleList(Expert(dim) for _ in range(3))
        self.level3_expert = Expert(dim)

    def forward(self, cls):  # [batch, 12, dim]
        parts = (cls[:, :3], cls[:, 3:6], cls[:, 6:])
        groups = [expert(x).mean(1) for expert, x in zip(self.level1_experts, parts)]
        pairs = [
            expert(torch.stack([groups[a], groups[b]], 1)).mean(1)
            for expert, (a, b) in zip(self.level2_experts, ((0, 1), (1, 2), (0, 2)))
        ]
        whole = self.level3_expert(torch.stack(pairs, 1)).mean(1)
        return torch.stack([*groups, *pairs, whole], 1).mean(1)


class Classifier(nn.Module):
    """A CLEAR encoder with the linear (`hug=False`) or the HUG head."""

    def __init__(self, classes, config=Config(), hug=True):
        super().__init__()
        self.backbone = Clear(config)
        if hug:
            self.backbone.moe = Hug(config.embed_dim)
        self.hug = hug
        self.mlp_head = nn.Linear(config.embed_dim, classes)

    def forward(self, tokens, lead, time, order):
        encoded = self.backbone.encode(standardise(tokens), lead, time, order, TOKENS)
        cls = encoded[:, :LEADS]
        return self.mlp_head(self.backbone.moe(cls) if self.hug else cls.mean(1))
