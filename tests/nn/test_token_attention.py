from __future__ import annotations

import torch
from torch import Tensor, nn

from hist2st_pyg.nn.token_attention import CrossTransformer, SquareTransformer


def attended(layer: nn.Module, x: Tensor, tokens: Tensor, bias: Tensor | None = None) -> Tensor:
    """One spot's attention [Q, C] to its tokens [T, C], head by head."""
    query, tokens = layer.query(layer.norm(x)), layer.norm(tokens)
    key, value = layer.key_value(tokens).chunk(2, dim=1)
    width = query.shape[1] // layer.heads
    heads = []
    for head in range(layer.heads):
        own = slice(head * width, (head + 1) * width)
        score = query[:, own] @ key[:, own].T / width**0.5
        heads.append((score if bias is None else score + bias[head]).softmax(1) @ value[:, own])
    return layer.out(torch.cat(heads, dim=1))


def test_a_square_s_tokens_attend_by_their_distance() -> None:
    torch.manual_seed(0)
    model, x = SquareTransformer(3, 8, 2, 2, 16, 0.3).eval(), torch.randn(4, 9, 8)
    for bias in model.biases:
        nn.init.normal_(bias)
    for found, tokens in zip(model(x), x, strict=True):
        for table, attention, mlp in zip(model.biases, model.attentions, model.mlps, strict=True):
            bias = torch.zeros(2, 9, 9)
            for i in range(9):
                for j in range(9):
                    bias[:, i, j] = table[:, abs(i // 3 - j // 3) * 3 + abs(i % 3 - j % 3)]
            tokens = tokens + attended(attention, tokens, tokens, bias)
            tokens = tokens + mlp(tokens)
        torch.testing.assert_close(found, model.norm(tokens), rtol=1e-5, atol=1e-5)


def test_a_spot_attends_to_its_own_tokens() -> None:
    torch.manual_seed(0)
    model, x, tokens = CrossTransformer(8, 2, 2, 16, 0.3).eval(), torch.randn(4, 8), torch.randn(4, 5, 8)
    for found, query, own in zip(model(x, tokens), x[:, None], tokens, strict=True):
        for attention, mlp in zip(model.attentions, model.mlps, strict=True):
            query = query + attended(attention, query, own)
            query = query + mlp(query)
        torch.testing.assert_close(found, query[0], rtol=1e-5, atol=1e-5)
