//! The published `config.json`: one object `model`, and that of the encoder of texts beside it.

use serde_json::{Map, Value};

use super::config::{Convolutions, DbetaConfig, EcgConfig};
use crate::text::TextConfig;

impl DbetaConfig {
    /// What a published configuration states, on top of what was published. Sizes that shapes tell as well count only where there
    /// are no shapes. Fields that the released program does not read are passed over.
    ///
    /// # Errors
    /// A message that names the field.
    pub fn from_published(stated: &Map<String, Value>) -> Result<Self, String> {
        let model = match stated.get("model") {
            Some(Value::Object(model)) => model,
            Some(_) => return Err("`model` is no object".to_owned()),
            None => stated,
        };
        let usual = DbetaConfig::default();
        let count = |name: &str, usual: usize| match model.get(name) {
            None | Some(Value::Null) => Ok(usual),
            Some(value) => value
                .as_u64()
                .map(|value| value as usize)
                .ok_or_else(|| format!("`{name}` is {value}, expected a whole number")),
        };
        let number = |name: &str, usual: f64| match model.get(name) {
            None | Some(Value::Null) => Ok(usual),
            Some(value) => value
                .as_f64()
                .ok_or_else(|| format!("`{name}` is {value}, expected a number")),
        };
        let rate = |name: &str, usual: f32| number(name, f64::from(usual)).map(|x| x as f32);
        let convolutions = match model.get("conv_feature_layers") {
            None | Some(Value::Null) => usual.ecg.convolutions.clone(),
            Some(Value::String(expression)) => convolutions(expression)?,
            Some(other) => {
                return Err(format!(
                    "`conv_feature_layers` is {other}, expected a text such as \"[(256, 2, 2)] * 4\""
                ));
            }
        };
        let (published, own) = (&usual.ecg, usual.clone());
        let ecg = EcgConfig {
            layers: count("encoder_layers", published.layers)?,
            width: count("encoder_embed_dim", published.width)?,
            feed_forward: count("encoder_ffn_embed_dim", published.feed_forward)?,
            heads: count("encoder_attention_heads", published.heads)?,
            norm_first: model.get("layer_norm_first") == Some(&Value::Bool(true)),
            dropout: rate("dropout", published.dropout)?,
            attention_dropout: rate("attention_dropout", published.attention_dropout)?,
            activation_dropout: rate("activation_dropout", published.activation_dropout)?,
            input_dropout: rate("dropout_input", published.input_dropout)?,
            layer_drop: rate("encoder_layerdrop", published.layer_drop)?,
            convolutions,
            position_kernel: count("conv_pos", published.position_kernel)?,
            position_groups: count("conv_pos_groups", published.position_groups)?,
        };
        if model.get("conv_bias") == Some(&Value::Bool(true)) {
            return Err("`conv_bias` is true; convolutions with a bias are not read".to_owned());
        }
        let mode = model.get("extractor_mode").and_then(Value::as_str);
        if mode.is_some_and(|mode| mode != "default") {
            return Err(format!(
                "`extractor_mode` is {}, expected default; the released program cannot construct others",
                mode.unwrap_or_default()
            ));
        }
        let text = match stated.get("text_encoder") {
            None => own.text.clone(),
            Some(text) => TextConfig::from_published(text)?,
        };
        let hidden = count("hidden_dim", own.hidden)?;
        Ok(DbetaConfig {
            ecg,
            hidden,
            fusion_heads: count("num_heads", own.fusion_heads)?,
            fusion_layers: count("num_top_layer", own.fusion_layers)?,
            fusion_feed_forward: 4 * hidden,
            fusion_dropout: rate("drop_rate", own.fusion_dropout)?,
            vocabulary: count("vocab_size", text.vocabulary())?,
            signal_layer: match model.get("mem_layer").and_then(Value::as_i64) {
                Some(layer) => layer,
                None => own.signal_layer,
            },
            hidden_share: number("mem_prob", own.hidden_share)?,
            decoder_width: count("mem_decoder_hidden_dim", own.decoder_width)?,
            decoder_layers: count("mem_decoder_num_layers", own.decoder_layers)?,
            decoder_heads: count("mem_decoder_num_heads", own.decoder_heads)?,
            text,
            ..own
        })
    }
}

/// The convolutions that a Python expression lists: lists of (channels, kernel, stride), added and multiplied. Nothing is evaluated.
pub(super) fn convolutions(expression: &str) -> Result<Vec<Convolutions>, String> {
    let mut parser = Parser {
        rest: expression,
        whole: expression,
    };
    let mut all = parser.term()?;
    while parser.take('+') {
        all.extend(parser.term()?);
    }
    match parser.rest.trim().is_empty() && all.len() <= MAX_CONVOLUTIONS {
        true => Ok(all),
        false => Err(parser.fault()),
    }
}

/// Convolutions of the longest front end.
const MAX_CONVOLUTIONS: usize = 64;

struct Parser<'a> {
    rest: &'a str,
    whole: &'a str,
}

impl Parser<'_> {
    fn fault(&self) -> String {
        let whole: String = self.whole.chars().take(200).collect();
        format!(
            "`conv_feature_layers` is `{whole}`, expected lists of (channels, kernel, stride) such as \"[(256, 2, 2)] * 4\""
        )
    }

    fn take(&mut self, c: char) -> bool {
        let rest = self.rest.trim_start().strip_prefix(c);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn need(&mut self, c: char) -> Result<(), String> {
        if self.take(c) {
            Ok(())
        } else {
            Err(self.fault())
        }
    }

    fn number(&mut self) -> Result<usize, String> {
        let rest = self.rest.trim_start();
        let end = rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len());
        let number = rest[..end].parse().map_err(|_| self.fault())?;
        self.rest = &rest[end..];
        Ok(number)
    }

    /// A list, or one times a number in either order.
    fn term(&mut self) -> Result<Vec<Convolutions>, String> {
        let (list, times) = if self.rest.trim_start().starts_with('[') {
            let list = self.list()?;
            let times = if self.take('*') { self.number()? } else { 1 };
            (list, times)
        } else {
            let times = self.number()?;
            self.need('*')?;
            (self.list()?, times)
        };
        if times > MAX_CONVOLUTIONS {
            return Err(self.fault());
        }
        Ok(list.repeat(times))
    }

    fn list(&mut self) -> Result<Vec<Convolutions>, String> {
        self.need('[')?;
        let mut list = Vec::new();
        while !self.take(']') {
            self.need('(')?;
            let channels = self.number()?;
            self.need(',')?;
            let kernel = self.number()?;
            self.need(',')?;
            let stride = self.number()?;
            self.need(')')?;
            list.push(Convolutions {
                channels,
                kernel,
                stride,
            });
            if !self.take(',') {
                self.need(']')?;
                break;
            }
        }
        if list.len() > MAX_CONVOLUTIONS {
            return Err(self.fault());
        }
        Ok(list)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_read_and_nothing_else() {
        let of = |text: &str| {
            let all = convolutions(text)?;
            Ok::<_, String>(
                all.iter()
                    .map(|c| (c.channels, c.kernel, c.stride))
                    .collect::<Vec<_>>(),
            )
        };
        assert_eq!(of("[(256, 2, 2)] * 4").unwrap(), [(256, 2, 2); 4]);
        assert_eq!(
            of("[(512,10,5)] + 2*[(512, 3, 2), (8,2,1),] + [(1,1,1)]").unwrap(),
            [
                (512, 10, 5),
                (512, 3, 2),
                (8, 2, 1),
                (512, 3, 2),
                (8, 2, 1),
                (1, 1, 1)
            ]
        );
        for odd in [
            "",
            "[(256, 2)]",
            "[(256, 2, 2)] * 4 * 4",
            "[(256, 2, 2)] ** 9",
            "__import__('os')",
            "[(256, 2, 2)] * 99999999999999999999",
            "[(1,1,1)] * 1000000",
            "[(256, -2, 2)]",
        ] {
            assert!(of(odd).is_err(), "{odd}");
        }
    }
}
