"""HuBERT-ECG in plain PyTorch, written from its specification: encoder, code-book heads, objective.

Parameter names are those of the published state dict. `check_hubert.py` compares with reference values.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

TEMPERATURE = 0.1


@dataclass
class Config:
    """Sizes and dropout, named as in the published files; the defaults are BASE for 12 leads of 5 s at 100 Hz."""

    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    classifier_proj_size: int = 256
    conv_dim: tuple = (512,) * 5
    conv_kernel: tuple = (10, 3, 3, 2, 2)
    conv_stride: tuple = (4, 2, 2, 2, 2)
    num_conv_pos_embeddings: int = 128
    num_conv_pos_embedding_groups: int = 16
    layer_norm_eps: float = 1e-5
    vocab_sizes: tuple = (100,)
    hidden_dropout: float = 0.1
    activation_dropout: float = 0.1
    attention_dropout: float = 0.1
    feat_proj_dropout: float = 0.0
    layerdrop: float = 0.1
    mask_time_prob: float = 0.33

    def tokens(self, samples):
        """How many tokens come out of that many samples."""
        for kernel, stride in zip(self.conv_kernel, self.conv_stride):
            samples = (samples - kernel) // stride + 1
        return samples


class Front(nn.Module):
    """One convolution, GELU; the first with a norm of each channel over time between them."""

    def __init__(self, inputs, outputs, kernel, stride, norm):
        super().__init__()
        self.conv = nn.Conv1d(inputs, outputs, kernel, stride, bias=False)
        nn.init.normal_(self.conv.weight, std=(2 / (inputs * kernel)) ** 0.5)
        if norm:
            self.layer_norm = nn.GroupNorm(outputs, outputs)

    def forward(self, x):
        x = self.conv(x)
        if hasattr(self, "layer_norm"):
            x = self.layer_norm(x)
        return F.gelu(x)


class FrontEnd(nn.Module):
    def __init__(self, c):
        super().__init__()
        widths = (1, *c.conv_dim)
        self.conv_layers = nn.ModuleList(
            Front(widths[i], widths[i + 1], c.conv_kernel[i], c.conv_stride[i], i == 0)
            for i in range(len(c.conv_dim))
        )

    def forward(self, x):
        x = x[:, None]
        for layer in self.conv_layers:
            x = layer(x)
        return x.transpose(1, 2)


class FeatureProjection(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.layer_norm = nn.LayerNorm(c.conv_dim[-1], c.layer_norm_eps)
        self.projection = nn.Linear(c.conv_dim[-1], c.hidden_size)
        self.dropout = nn.Dropout(c.feat_proj_dropout)

    def forward(self, x):
        return self.dropout(self.projection(self.layer_norm(x)))


class PositionalConvolution(nn.Module):
    def __init__(self, c):
        super().__init__()
        kernel, groups, d = c.num_conv_pos_embeddings, c.num_conv_pos_embedding_groups, c.hidden_size
        conv = nn.Conv1d(d, d, kernel, padding=kernel // 2, groups=groups)
        nn.init.zeros_(conv.bias)
        self.conv = nn.utils.parametrizations.weight_norm(conv, dim=2)

    def forward(self, x):
        length = x.shape[1]
        # Of an even kernel the last position is dropped.
        return F.gelu(self.conv(x.transpose(1, 2))[..., :length]).transpose(1, 2)


class Attention(nn.Module):
    def __init__(self, c):
        super().__init__()
        d = c.hidden_size
        self.heads, self.dropout = c.num_attention_heads, c.attention_dropout
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(d, d) for _ in range(4))

    def forward(self, x, mask):
        batch, length, width = x.shape
        split = lambda y: y.view(batch, length, self.heads, -1).transpose(1, 2)
        q, k, v = split(self.q_proj(x)), split(self.k_proj(x)), split(self.v_proj(x))
        p = self.dropout if self.training else 0.0
        heard = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=p)
        return self.out_proj(heard.transpose(1, 2).reshape(batch, length, width))


class FeedForward(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.intermediate_dense = nn.Linear(c.hidden_size, c.intermediate_size)
        self.intermediate_dropout = nn.Dropout(c.activation_dropout)
        self.output_dense = nn.Linear(c.intermediate_size, c.hidden_size)
        self.output_dropout = nn.Dropout(c.hidden_dropout)

    def forward(self, x):
        x = self.intermediate_dropout(F.gelu(self.intermediate_dense(x)))
        return self.output_dropout(self.output_dense(x))


class Layer(nn.Module):
    """Post-norm transformer layer."""

    def __init__(self, c):
        super().__init__()
        self.attention = Attention(c)
        self.dropout = nn.Dropout(c.hidden_dropout)
        self.layer_norm = nn.LayerNorm(c.hidden_size, c.layer_norm_eps)
        self.feed_forward = FeedForward(c)
        self.final_layer_norm = nn.LayerNorm(c.hidden_size, c.layer_norm_eps)

    def forward(self, x, mask):
        x = self.layer_norm(x + self.dropout(self.attention(x, mask)))
        return self.final_layer_norm(x + self.feed_forward(x))


class Encoder(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.layerdrop = c.layerdrop
        self.pos_conv_embed = PositionalConvolution(c)
        self.layer_norm = nn.LayerNorm(c.hidden_size, c.layer_norm_eps)
        self.dropout = nn.Dropout(c.hidden_dropout)
        self.layers = nn.ModuleList(Layer(c) for _ in range(c.num_hidden_layers))

    def forward(self, x, valid):
        mask = None
        if valid is not None:
            x = x * valid[..., None]
            mask = valid[:, None, None, :]
        x = self.dropout(self.layer_norm(x + self.pos_conv_embed(x)))
        states = [x]
        for layer in self.layers:
            if not (self.training and torch.rand(()) < self.layerdrop):
                x = layer(x, mask)
            states.append(x)
        return states


class Hubert(nn.Module):
    """Encoder and code-book heads."""

    def __init__(self, config=Config()):
        super().__init__()
        c = self.config = config
        self.masked_spec_embed = nn.Parameter(torch.rand(c.hidden_size))
        self.feature_extractor = FrontEnd(c)
        self.feature_projection = FeatureProjection(c)
        self.encoder = Encoder(c)
        for part in (self.feature_projection, self.encoder.layers):
            for module in part.modules():
                if isinstance(module, nn.Linear):
                    nn.init.normal_(module.weight, std=0.02)
                    nn.init.zeros_(module.bias)
        p = c.classifier_proj_size
        self.final_proj = nn.ModuleList(nn.Linear(c.hidden_size, p) for _ in c.vocab_sizes)
        self.label_embedding = nn.ModuleList(nn.Embedding(v, p) for v in c.vocab_sizes)

    def hidden_states(self, signals, hidden=None, valid=None):
        """The states before the first layer and after each one; `hidden` and `valid` `[batch, tokens]` say which tokens
        are masked, and which stand for real samples."""
        x = self.feature_projection(self.feature_extractor(signals))
        if hidden is not None:
            x = torch.where(hidden[..., None], self.masked_spec_embed, x)
        return self.encoder(x, valid)

    def forward(self, signals):
        """The last states `[batch, tokens, width]`."""
        return self.hidden_states(signals)[-1]

    def logits(self, last):
        """Cosines with the code vectors over the temperature, for each code book."""
        unit = lambda x: F.normalize(x, dim=-1, eps=1e-8)
        return [
            unit(project(last)) @ unit(table.weight).T / TEMPERATURE
            for project, table in zip(self.final_proj, self.label_embedding)
        ]

    def loss(self, signals, codes, hidden, alpha=1.0, valid=None):
        """What pre-training minimises; `codes` `[batch, code books, tokens]`."""
        logits = self.logits(self.hidden_states(signals, hidden, valid)[-1])
        total = 0.0
        for e, z in enumerate(logits):
            for share, of in ((alpha, hidden), (1 - alpha, ~hidden)):
                if share:
                    total = total + share * F.cross_entropy(z[of], codes[:, e][of])
        return total


def draw_hidden(config, size, tokens):
    """Masked tokens `[size, tokens]`: spans of one token, equally many in each recording."""
    count = int(config.mask_time_prob * tokens + torch.rand(()).item())
    order = torch.rand(size, tokens).argsort(1)
    return torch.zeros(size, tokens, dtype=torch.bool).scatter_(1, order[:, :count], True)
