"""D-BETA of the published sizes in PyTorch eager mode: attention by the fused kernel, the encoder of texts from the transformers library."""

import math

import torch
import torch.nn.functional as F
import transformers

LEADS, STRIDES, WIDTH, LAYERS, HEADS, FUSION = 12, 4, 768, 8, 12, 6
DECODER, DECODER_LAYERS, DECODER_HEADS, STRETCH, WORDS = 384, 4, 6, 16, 32_128
DROPOUT = 0.1


def t5(name):
    """The encoder of Flan-T5, base or small, with random weights."""
    sizes = {
        "base": {"d_model": 768, "d_ff": 2048, "num_layers": 12, "num_heads": 12},
        "small": {"d_model": 512, "d_ff": 1024, "num_layers": 8, "num_heads": 6},
    }
    config = transformers.T5Config(
        vocab_size=WORDS, d_kv=64, feed_forward_proj="gated-gelu", tie_word_embeddings=False, **sizes[name]
    )
    return transformers.T5EncoderModel(config)


def shapes(whole):
    """Every parameter outside the encoder of texts."""
    all = {"class_embedding": (WIDTH,)}

    def put(name, *shape):
        all[name] = shape

    def linear(name, out, inputs):
        put(f"{name}.weight", out, inputs)
        put(f"{name}.bias", out)

    def norm(name, width=WIDTH):
        put(f"{name}.weight", width)
        put(f"{name}.bias", width)

    for i in range(STRIDES):
        put(f"ecg_encoder.feature_extractor.conv_layers.{i}.0.weight", 256, LEADS if i == 0 else 256, 2)
    norm("ecg_encoder.feature_extractor.conv_layers.0.2", 256)
    norm("ecg_encoder.layer_norm", 256)
    linear("ecg_encoder.post_extract_proj", WIDTH, 256)
    put("ecg_encoder.conv_pos.pos_conv.0.bias", WIDTH)
    put("ecg_encoder.conv_pos.pos_conv.0.weight_g", 1, 1, 128)
    put("ecg_encoder.conv_pos.pos_conv.0.weight_v", WIDTH, WIDTH // 16, 128)
    norm("ecg_encoder.encoder.layer_norm")
    for i in range(LAYERS):
        layer = f"ecg_encoder.encoder.layers.{i}"
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            linear(f"{layer}.self_attn.{part}", WIDTH, WIDTH)
        linear(f"{layer}.fc1", 4 * WIDTH, WIDTH)
        linear(f"{layer}.fc2", WIDTH, 4 * WIDTH)
        norm(f"{layer}.self_attn_layer_norm")
        norm(f"{layer}.final_layer_norm")
    linear("multi_modal_ecg_proj", WIDTH, WIDTH)
    linear("unimodal_ecg_pooler.dense", WIDTH, WIDTH)
    if not whole:
        return all
    linear("multi_modal_language_proj", WIDTH, WIDTH)
    linear("unimodal_language_pooler.dense", WIDTH, WIDTH)
    put("modality_type_embeddings.weight", 2, WIDTH)
    for stream in ("ecg", "language"):
        for i in range(FUSION):
            layer = f"multi_modal_{stream}_layers.{i}"
            for attention in ("attention", "crossattention"):
                for part in ("query", "key", "value"):
                    linear(f"{layer}.{attention}.self.{part}", WIDTH, WIDTH)
                linear(f"{layer}.{attention}.output.dense", WIDTH, WIDTH)
                norm(f"{layer}.{attention}.output.LayerNorm")
            linear(f"{layer}.intermediate.dense", 4 * WIDTH, WIDTH)
            linear(f"{layer}.output.dense", WIDTH, 4 * WIDTH)
            norm(f"{layer}.output.LayerNorm")
        linear(f"multi_modal_{stream}_pooler.dense", WIDTH, WIDTH)
    linear("mlm_head.transform.dense", WIDTH, WIDTH)
    norm("mlm_head.transform.LayerNorm")
    put("mlm_head.decoder.weight", WORDS, WIDTH)
    put("mlm_head.bias", WORDS)
    linear("mim_head.decoder_embed", DECODER, WIDTH)
    put("mim_head.mask_token", 1, 1, DECODER)
    for i in range(DECODER_LAYERS):
        block = f"mim_head.decoder.resblocks.{i}"
        put(f"{block}.attn.in_proj_weight", 3 * DECODER, DECODER)
        put(f"{block}.attn.in_proj_bias", 3 * DECODER)
        linear(f"{block}.attn.out_proj", DECODER, DECODER)
        norm(f"{block}.ln_1", DECODER)
        linear(f"{block}.mlp.c_fc", 4 * DECODER, DECODER)
        linear(f"{block}.mlp.c_proj", DECODER, 4 * DECODER)
        norm(f"{block}.ln_2", DECODER)
    norm("mim_head.decoder_norm", DECODER)
    linear("mim_head.decoder_pred", LEADS * STRETCH, DECODER)
    linear("itm_head.fc", 2, 2 * WIDTH)
    return all


def sinusoids(width, rows=512):
    """Sines in even columns and cosines in odd ones."""
    position = torch.arange(rows, dtype=torch.float64)[:, None]
    power = torch.arange(width) // 2 * 2 / width
    angles = position * 10_000.0**-power
    table = torch.where(torch.arange(width) % 2 == 0, angles.sin(), angles.cos())
    return table.float()[None]


class Dbeta(torch.nn.Module):
    """The encoder of recordings, and with `whole` everything that pre-training needs."""

    def __init__(self, whole=False):
        super().__init__()
        self.names = {}
        for name, shape in shapes(whole).items():
            is_norm = len(shape) == 1 and ("orm" in name or ".ln_" in name or ".0.2." in name)
            ones = name.endswith("weight_g") or (is_norm and name.endswith("weight"))
            scale = 1.0 / math.sqrt(math.prod(shape[1:])) if len(shape) > 1 else 0.02
            value = torch.ones(shape) if ones else torch.randn(shape) * scale
            self.names[name] = torch.nn.Parameter(value)
            self.register_parameter(name.replace(".", "|"), self.names[name])
        if whole:
            self.text = t5("base")
            self.positions = sinusoids(DECODER)

    def state(self):
        """Values by the names of the published layout."""
        state = {name: value.detach().numpy() for name, value in self.names.items()}
        if hasattr(self, "text"):
            for name, value in self.text.state_dict().items():
                if "embed_tokens" not in name:
                    state[f"language_encoder.{name}"] = value.numpy()
            state["mim_head.decoder_pos_embed.pe"] = self.positions.numpy()
        return state

    def linear(self, name, x):
        return F.linear(x, self.names[f"{name}.weight"], self.names[f"{name}.bias"])

    def norm(self, name, x, eps=1e-5):
        return F.layer_norm(x, x.shape[-1:], self.names[f"{name}.weight"], self.names[f"{name}.bias"], eps)

    def drop(self, x):
        return F.dropout(x, DROPOUT, self.training)

    def attention(self, q, k, v, heads, mask=None, dropout=DROPOUT):
        def split(x):
            return x.unflatten(-1, (heads, -1)).transpose(1, 2)

        p = dropout if self.training else 0.0
        heard = F.scaled_dot_product_attention(split(q), split(k), split(v), attn_mask=mask, dropout_p=p)
        return heard.transpose(1, 2).flatten(-2)

    def tokens(self, x):
        for i in range(STRIDES):
            layer = f"ecg_encoder.feature_extractor.conv_layers.{i}"
            x = F.conv1d(x, self.names[f"{layer}.0.weight"], stride=2)
            if i == 0:
                x = F.group_norm(x, 256, self.names[f"{layer}.2.weight"], self.names[f"{layer}.2.bias"])
            x = F.gelu(x)
        x = self.norm("ecg_encoder.layer_norm", x.transpose(1, 2))
        x = self.drop(self.linear("ecg_encoder.post_extract_proj", x))
        conv = "ecg_encoder.conv_pos.pos_conv.0"
        direction = self.names[f"{conv}.weight_v"]
        weight = direction * (self.names[f"{conv}.weight_g"] / direction.norm(dim=(0, 1), keepdim=True))
        around = F.conv1d(x.transpose(1, 2), weight, self.names[f"{conv}.bias"], padding=64, groups=16)
        return x + F.gelu(around[..., :-1]).transpose(1, 2)

    def states(self, signals, kept=None):
        x = self.tokens(signals)
        if kept is not None:
            x = torch.gather(x, 1, kept[..., None].expand(-1, -1, WIDTH))
        x = torch.cat([self.names["class_embedding"].expand(len(x), 1, -1), x], 1)
        x = self.drop(self.norm("ecg_encoder.encoder.layer_norm", x))
        for i in range(LAYERS):
            layer = f"ecg_encoder.encoder.layers.{i}"
            q, k, v = (self.linear(f"{layer}.self_attn.{part}_proj", x) for part in "qkv")
            heard = self.linear(f"{layer}.self_attn.out_proj", self.attention(q, k, v, HEADS))
            x = self.norm(f"{layer}.self_attn_layer_norm", x + self.drop(heard))
            more = self.linear(f"{layer}.fc2", F.gelu(self.linear(f"{layer}.fc1", x)))
            x = self.norm(f"{layer}.final_layer_norm", x + self.drop(more))
        return self.linear("multi_modal_ecg_proj", x)

    def pool(self, name, x):
        return torch.tanh(self.linear(f"{name}.dense", x[:, 0]))

    def vectors(self, signals):
        return self.pool("unimodal_ecg_pooler", self.states(signals))

    def fused(self, layer, x, mask, other, other_mask):
        for attention, to, masked in (("attention", x, mask), ("crossattention", other, other_mask)):
            to = x if attention == "attention" else to
            q = self.linear(f"{layer}.{attention}.self.query", x)
            k = self.linear(f"{layer}.{attention}.self.key", to)
            v = self.linear(f"{layer}.{attention}.self.value", to)
            heard = self.linear(f"{layer}.{attention}.output.dense", self.attention(q, k, v, HEADS, masked))
            x = self.norm(f"{layer}.{attention}.output.LayerNorm", x + self.drop(heard), 1e-12)
        more = self.linear(f"{layer}.output.dense", F.gelu(self.linear(f"{layer}.intermediate.dense", x)))
        return self.norm(f"{layer}.output.LayerNorm", x + self.drop(more), 1e-12)

    def signals(self, ecg, restore):
        x = self.linear("mim_head.decoder_embed", ecg)
        missing = self.names["mim_head.mask_token"].expand(len(x), restore.shape[1] + 1 - x.shape[1], -1)
        tokens = torch.cat([x[:, 1:], missing], 1)
        tokens = torch.gather(tokens, 1, restore[..., None].expand(-1, -1, DECODER))
        x = torch.cat([x[:, :1], tokens], 1) + self.positions[:, : 1 + tokens.shape[1]]
        for i in range(DECODER_LAYERS):
            block = f"mim_head.decoder.resblocks.{i}"
            z = self.norm(f"{block}.ln_1", x)
            packed = F.linear(z, self.names[f"{block}.attn.in_proj_weight"], self.names[f"{block}.attn.in_proj_bias"])
            heard = self.attention(*packed.chunk(3, -1), DECODER_HEADS, dropout=0.0)
            x = x + self.linear(f"{block}.attn.out_proj", heard)
            up = self.linear(f"{block}.mlp.c_fc", self.norm(f"{block}.ln_2", x))
            x = x + self.linear(f"{block}.mlp.c_proj", up * torch.sigmoid(1.702 * up))
        return self.linear("mim_head.decoder_pred", self.norm("mim_head.decoder_norm", x))[:, 1:]

    def loss(self, batch):
        """The sum of the four losses; nothing of the texts is padded."""
        signals, ids, words, aligned = (batch[name] for name in ("signals", "ids", "words", "aligned"))
        text = self.linear("multi_modal_language_proj", self.text(input_ids=ids).last_hidden_state)
        text_vectors = self.pool("unimodal_language_pooler", text)
        ecg = self.states(signals, batch["order"][:, : batch["kept"]])
        ecg_vectors = self.pool("unimodal_ecg_pooler", ecg)
        kinds = self.names["modality_type_embeddings.weight"]
        text, ecg = text + kinds[0], ecg + kinds[1]
        for i in range(FUSION):
            if i == 3:
                for_signal = ecg
            text, ecg = (
                self.fused(f"multi_modal_language_layers.{i}", text, None, ecg, None),
                self.fused(f"multi_modal_ecg_layers.{i}", ecg, None, text, None),
            )
        asked = words >= 0
        x = F.gelu(self.linear("mlm_head.transform.dense", text[asked]))
        x = self.norm("mlm_head.transform.LayerNorm", x, 1e-12)
        logits = F.linear(x, self.names["mlm_head.decoder.weight"], self.names["mlm_head.bias"])
        word_loss = F.cross_entropy(logits, words[asked])
        found = self.signals(for_signal, batch["restore"])
        tokens = found.shape[1]
        target = signals[..., : tokens * STRETCH]
        target = (target - target.mean(-1, keepdim=True)) / torch.sqrt(target.var(-1, keepdim=True) + 1e-6)
        target = target.unflatten(-1, (tokens, STRETCH)).transpose(1, 2).flatten(2)
        hidden = (batch["restore"] >= batch["kept"]).float()
        signal_loss = ((found - target).square().mean(-1) * hidden).sum() / hidden.sum()
        both = torch.cat([self.pool("multi_modal_language_pooler", text), self.pool("multi_modal_ecg_pooler", ecg)], 1)
        matching = F.cross_entropy(self.linear("itm_head.fc", both), aligned)
        signs = -torch.ones(len(ids), len(ids))
        signs.diagonal().copy_(2.0 * aligned - 1.0)
        alignment = -F.logsigmoid(signs * (ecg_vectors @ text_vectors.T)).sum() / len(ids)
        return word_loss + signal_loss + matching + alignment
