"""Distribution of rows with texts: that of a table, and for each text a decoder that predicts token after token."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from aepipe.layout import END, UNSEEN, Layout, Port, Text
from aepipe.models.layers.likelihood import Likelihood, LikelihoodOptions, Residual, TableLikelihood
from aepipe.models.layers.preprocessing import Row
from aepipe.models.layers.token_choice import Truncation
from aepipe.models.layers.token_decoder import STATE, TokenDecoder
from aepipe.models.layers.tokens import in_layout_order, rest_codes, rest_of, tokens_of, within

WORD_DROPOUT = 0.2


class TextLikelihood(Likelihood):
    """Likelihood with the parameters of the table without its texts, then one context per text.

    Tokens after the end of a text add nothing to the loss. The decoders of the texts are part of the distribution.
    """

    def __init__(self, layout: Layout, options: LikelihoodOptions, *, state: int | None = None) -> None:
        super().__init__()
        self.layout = layout
        self.word_dropout = WORD_DROPOUT if options.word_dropout is None else options.word_dropout
        self.rest = TableLikelihood(rest_of(layout), options)
        self.sigma = self.rest.sigma
        decoders = [TokenDecoder(text, layout.categories[text.first], state or STATE) for text in layout.texts]
        self.decoders = nn.ModuleList(decoders)
        self.contexts = tuple(decoder.width for decoder in decoders)
        self.linear = self.rest.linear
        self.width = self.rest.width + sum(self.contexts)
        uniforms = sum(text.length for text in layout.texts)
        self.noise = (*self.rest.noise, Port("u_token", "float32", (uniforms,), "uniform"))

    def nll(self, params: Tensor, row: Row) -> Tensor:
        rest, losses = self._losses(params, row)
        nll = self.rest.nll(params[:, : self.rest.width], rest)
        return self._joined(nll, losses)

    def residual(self, params: Tensor, row: Row) -> Tensor:
        rest, losses = self._losses(params, row)
        residual = self.rest.residual(params[:, : self.rest.width], rest)
        return self._joined(residual, [-torch.expm1(-each) for each in losses])

    def expected(self, params: Tensor) -> tuple[Tensor, ...]:
        rest = self.rest.expected(params[:, : self.rest.width])
        return self._row(rest, [decoder.draw(context, None) for _, decoder, context in self._texts(params)])

    def draw(self, params: Tensor, *noise: Tensor) -> tuple[Tensor, ...]:
        return self.draw_truncated(params, None, *noise)

    def draw_truncated(self, params: Tensor, truncation: Truncation | None, *noise: Tensor) -> tuple[Tensor, ...]:
        """Draw a row as `draw`, its tokens from a truncated distribution; None: as `draw`."""
        rest = self.rest.draw(params[:, : self.rest.width], *noise[:-1]) if self.rest.noise else ()
        begin, drawn = 0, []
        for text, decoder, context in self._texts(params):
            drawn.append(decoder.draw(context, noise[-1][:, begin : begin + text.length], truncation))
            begin += text.length
        return self._row(rest, drawn)

    def heard(self, row: Row, generator: torch.Generator) -> Row:
        """Append to the codes of a row those that decoders read instead: a share of the tokens is unknown to them."""
        if not self.word_dropout:
            return row
        heard = []
        for text in self.layout.texts:
            tokens = tokens_of(text, row.codes)
            dropped = torch.rand(tokens.shape, generator=generator, device=tokens.device) < self.word_dropout
            heard.append(tokens.masked_fill(dropped & (tokens != END), UNSEEN))
        return row._replace(codes=torch.cat([row.codes, *heard], 1))

    @torch.no_grad()
    def misfit(self, params: Tensor, row: Row) -> Residual:
        return self.rest.misfit(params[:, : self.rest.width], row)

    def targets(self, row: Row) -> Tensor:
        rest = self.rest.targets(row._replace(codes=rest_codes(self.layout, row.codes)))
        return torch.cat([rest, rest.new_zeros((len(rest), self.width - self.rest.width))], 1)

    def params_of(self, targets: Tensor) -> Tensor:
        rest = self.rest.params_of(targets[:, : self.rest.width])
        return torch.cat([rest, targets[:, self.rest.width :]], 1)

    def _losses(self, params: Tensor, row: Row) -> tuple[Row, list[Tensor]]:
        """Return the row without texts, and the loss of each token, (B, T) per text, 0 beyond its end."""
        codes = len(self.layout.categories)
        begin, losses = codes, []
        for text, decoder, context in self._texts(params):
            tokens = tokens_of(text, row.codes)
            heard = row.codes[:, begin : begin + text.length] if row.codes.shape[1] > codes else tokens
            losses.append(decoder.nll(context, tokens, heard) * within(tokens).to(context.dtype))
            begin += text.length
        return row._replace(codes=rest_codes(self.layout, row.codes)), losses

    def _texts(self, params: Tensor) -> Iterator[tuple[Text, TokenDecoder, Tensor]]:
        """Yield each text with its decoder and context (B, width of the decoder)."""
        begin = self.rest.width
        for text, decoder in zip(self.layout.texts, self.decoders, strict=True):
            assert isinstance(decoder, TokenDecoder)
            context = params[:, begin : begin + decoder.width]
            yield text, decoder, context.to(self.rest.may_be_missing.dtype)  # autocast ends here
            begin += decoder.width

    def _joined(self, rest: Tensor, texts: list[Tensor]) -> Tensor:
        numbers = len(self.layout.numbers)
        return torch.cat([rest[:, :numbers], in_layout_order(self.layout, rest[:, numbers:], texts)], 1)

    def _row(self, rest: tuple[Tensor, ...], texts: list[Tensor]) -> tuple[Tensor, ...]:
        """Join the tensors of the table without texts and the codes of the texts to the tensors of rows."""
        num = rest[:1] if self.layout.numbers else ()
        cat = rest[len(num)] if len(rest) > len(num) else texts[0][:, :0].int()
        return *num, in_layout_order(self.layout, cat, [codes.int() for codes in texts])
