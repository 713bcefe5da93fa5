"""The model once more, written from ``docs/theory.md`` alone: numpy, one frame, energy only, no code of the package.

Comments name equations of that page. Slow and plain on purpose.
"""

import itertools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.integrate import lebedev_rule
from scipy.special import lpmv

Array = np.ndarray
Weights = Mapping[str, Array]

EPS = 1e-7
CHARGES = np.array([8, 1])


def logistic(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def silu(x: Array) -> Array:
    return x * logistic(x)


def softmax(x: Array) -> Array:
    y = np.exp(x - x.max(axis=-1, keepdims=True))
    return y / y.sum(axis=-1, keepdims=True)


def degrees(lmax: int) -> Array:
    return np.array([l for l in range(lmax + 1) for _ in range(2 * l + 1)])


def textbook(lmax: int, u: Array) -> Array:
    # (1.2.2); lpmv carries (-1)^m
    x, y, z = u.T
    azimuth = np.arctan2(y, x)
    value = np.empty((len(u), (lmax + 1) ** 2))
    for l in range(lmax + 1):
        for m in range(l + 1):
            row = l * l + l  # (1.2.1)
            factor = 1.0 if m == 0 else math.sqrt(2 * math.factorial(l - m) / math.factorial(l + m))
            legendre = factor * (-1) ** m * lpmv(m, l, z)
            value[:, row - m] = legendre * np.sin(m * azimuth)
            value[:, row + m] = legendre * np.cos(m * azimuth)
    return value


def backbone(lmax: int, u: Array) -> Array:
    return textbook(lmax, u * [-1, 1, 1])  # (1.2.3)


def on_s2(lmax: int, u: Array) -> Array:
    return textbook(lmax, u[:, [2, 0, 1]])  # (1.2.3)


def by_order(lmax: int, mmax: int) -> list[tuple[int, int]]:
    rows = [(l, 0) for l in range(lmax + 1)]  # 1.3
    for m in range(1, mmax + 1):
        rows += [(l, -m) for l in range(m, lmax + 1)] + [(l, m) for l in range(m, lmax + 1)]
    return rows


def frames(u: Array) -> Array:
    x, y, z = u.T
    s = np.where(z < 0, -1.0, 1.0)
    a = 1 / (1 + np.abs(z))
    first = s[:, None] * np.stack([1 - a * x * x, -a * x * y, -s * x], axis=1)  # (1.5.2)
    second = np.stack([-a * x * y, 1 - a * y * y, -s * y], axis=1)
    return np.stack([first, second, u], axis=1)


def wigner(lmax: int, rotations: Array) -> Array:
    # (1.4.1), solved for D by least squares over some directions
    points = np.random.default_rng(0).normal(size=(200, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    result = np.zeros((len(rotations), (lmax + 1) ** 2, (lmax + 1) ** 2))
    inverse = [np.linalg.pinv(backbone(lmax, points)[:, l * l : (l + 1) ** 2]) for l in range(lmax + 1)]
    for one, rotation in zip(result, rotations, strict=True):
        turned = backbone(lmax, points @ rotation.T)
        for l in range(lmax + 1):
            block = slice(l * l, (l + 1) ** 2)
            one[block, block] = (inverse[l] @ turned[:, block]).T
    return result


def envelope(p: int, r: Array, rcut: float) -> Array:
    x = np.minimum(r / rcut, 1)
    return (1 - x) ** 4 * sum(math.comb(k + 3, 3) * x**k for k in range(p))  # (2.2.1)


def scalar_norm(x: Array, scale: Array) -> Array:
    return x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + 1e-7) * scale  # (5.1.1)


def lebedev(lmax: int) -> tuple[Array, Array]:
    degree = {0: 3, 1: 3, 2: 7, 3: 9, 4: 13, 5: 15}[lmax]  # table of 5.5
    points, weights = lebedev_rule(degree)
    return points.T, weights / weights.sum()


class Model:
    """Options are those of the ``descriptor`` section; weights have the names of checkpoints."""

    def __init__(self, options: Mapping[str, Any], weights: Weights, bias: Array, bridging: tuple | None) -> None:
        self.o, self.w, self.bias, self.bridging = options, weights, bias, bridging
        self.L, self.M, self.C = options["lmax"], options["mmax"], options["channels"]
        self.F = options["n_focus"]
        self.size = (self.L + 1) ** 2
        self.degrees = degrees(self.L)

    # section 2

    def edges(self, positions: Array, cell: Array) -> tuple[Array, Array, Array]:
        found = []
        for shift in itertools.product(range(-3, 4), repeat=3):
            difference = positions[None] + np.array(shift) @ cell - positions[:, None]  # (2.1.1)
            length = np.linalg.norm(difference, axis=2)
            for i, j in np.argwhere((length < self.o["rcut"]) & (length > 1e-5)):
                found.append((i, j, difference[i, j]))
        i, j, v = zip(*found, strict=True)
        return np.array(i), np.array(j), np.array(v)

    def energy(self, positions: Array, types: Array, cell: Array) -> float:
        o, rcut, n = self.o, self.o["rcut"], len(types)
        self.i, self.j, v = self.edges(positions, cell)
        self.n = n
        r = np.sqrt((v * v).sum(axis=1) + EPS**2)
        true = np.linalg.norm(v, axis=1)
        self.gate = np.ones(len(r))
        if self.bridging:
            r, v = self.clamp(r, v)
        u = v / np.sqrt((v * v).sum(axis=1) + EPS**2)[:, None]  # (1.5.1)
        self.D = wigner(self.L, frames(u))
        self.rows = [l * l + l + m for l, m in by_order(self.L, self.M)]
        self.row_degree = np.array([l for l, _ in by_order(self.L, self.M)])
        self.kappa = np.where(self.degrees > self.M, np.sqrt((2 * self.degrees + 1) / (2 * self.M + 1)), 1)  # (1.6.2)
        exponents = o.get("env_exp", [7, 5])
        single = isinstance(exponents, int)
        self.weight = envelope(exponents if single else exponents[1], r, rcut)  # (2.2.2)
        omega = self.w["radial_basis.adam_freqs"]
        rbf = np.sin(omega * r[:, None]) / r[:, None]  # (2.3.1), (2.3.4)
        if not single:
            rbf = rbf * envelope(exponents[0], r, rcut)[:, None]  # (2.3.3)
        hidden = rbf @ self.w["radial_embedding.net.0.matrix"]  # (2.5.1)
        if o["edge_norm"]:
            hidden = scalar_norm(hidden, self.w["radial_embedding.net.1.adam_scale"])
        last = self.w[f"radial_embedding.net.{3 if o['edge_norm'] else 2}.matrix"]
        rad = (silu(hidden) @ last).reshape(len(r), self.L + 1, self.C) * self.weight[:, None, None]  # (2.5.2)
        self.normaliser = (0.25 + self.sum(self.weight**2)) ** -0.5  # (2.6.1)
        t = self.w["type_embedding.adam_type_embedding"][types]
        self.condition = rad + (t[self.i] + t[self.j])[:, None]  # (2.7.2), (3.3.1)
        x = np.zeros((n, self.size, self.C))
        x[:, 0] = self.seed(t, types, rbf, r, u)
        geometric = backbone(self.L, u)[:, :, None] * rad[:, self.degrees] * self.gate[:, None, None]
        x[:, 1:] = (self.normaliser[:, None, None] * self.sum(geometric))[:, 1:]  # (3.2.1)
        for block in range(o["n_blocks"]):
            x = self.block(f"blocks.{block}.", x)
        if o["so3_readout"] == "none":
            x = x + self.gated_ffn("output_ffn.", x[:, :1], 0)  # (6.1.1)
        else:
            x = x + self.grid_ffn("output_ffn.", x, o["so3_readout"], 0)
        energies = self.fitting(x[:, 0]) + self.bias[types]  # (6.2.3)
        if self.bridging:
            energies = energies + self.repulsion(true, types)
        return energies.sum()  # (6.3.1)

    def sum(self, values: Array) -> Array:
        total = np.zeros((self.n, *values.shape[1:]))
        np.add.at(total, self.i, values)
        return total

    # section 7

    def clamp(self, r: Array, v: Array) -> tuple[Array, Array]:
        r1, r2 = self.bridging
        t = np.clip((r - r1) / (r2 - r1), 0, 1)
        inside = r1 + (r2 - r1) * (20 * t**4 - 45 * t**5 + 36 * t**6 - 10 * t**7)
        clamped = np.where(r < r2, inside, r)  # (7.1.1)
        t = np.clip((clamped - r1) / (r2 - r1), 0, 1)
        omega = 35 * t**4 - 84 * t**5 + 70 * t**6 - 20 * t**7
        eta = np.ones(self.n)
        np.multiply.at(eta, self.j, omega)  # (7.2.1)
        self.gate = eta[self.j]
        return clamped, v * (clamped / r)[:, None]  # (7.1.2)

    def repulsion(self, r: Array, types: Array) -> Array:
        zi, zj = CHARGES[types[self.i]], CHARGES[types[self.j]]
        a = 0.88534 * 0.5291772109 / (zi**0.23 + zj**0.23)
        screening = sum(
            amplitude * np.exp(-decay * r / a)
            for amplitude, decay in zip(
                (0.18175, 0.50986, 0.28022, 0.028171), (3.1998, 0.94229, 0.4029, 0.20162), strict=True
            )
        )
        return 0.5 * self.sum(14.3996 * zi * zj / r * screening)  # (7.3.1), (7.3.3)

    # section 3

    def seed(self, t: Array, types: Array, rbf: Array, r: Array, u: Array) -> Array:
        w = {key: self.w[f"env_seed_embedding.{key}.matrix"] for key in
             ("rbf_proj_layer1", "rbf_proj_layer2", "g_layer1", "g_layer2", "output_proj")}  # fmt: skip
        theta = self.w["env_seed_embedding.env_type_embed.adam_type_embedding"][types]
        m = (self.weight / r * self.gate)[:, None] * np.concatenate([np.ones((len(r), 1)), u], axis=1)  # (3.1.1)
        joint = [silu(rbf @ w["rbf_proj_layer1"]) @ w["rbf_proj_layer2"], theta[self.j], theta[self.i]]
        g = silu(np.concatenate(joint, axis=1) @ w["g_layer1"]) @ w["g_layer2"]  # (3.1.2)
        environment = self.normaliser[:, None, None] * self.sum(m[:, :, None] * g[:, None, :])
        columns = 4 if min(self.C, 128) < 64 else 8
        products = environment.transpose(0, 2, 1) @ environment[:, :, :columns]  # (3.1.3)
        both = products.reshape(self.n, -1) @ w["output_proj"]
        scale, shift = both[:, : self.C], both[:, self.C :]
        if self.o["edge_norm"]:
            scale = scalar_norm(scale, self.w["film_scale_norm.adam_scale"])
            shift = scalar_norm(shift, self.w["film_shift_norm.adam_scale"])
        alpha, beta = self.w["film_scale_strength_log"], self.w["film_shift_strength_log"]
        return t * (1 + np.exp(alpha) * np.tanh(scale)) + np.exp(beta) * np.tanh(shift)  # (3.1.4)

    # section 4

    def convolution(self, key: str, x: Array) -> Array:
        o, F = self.o, self.F
        Cw = self.w[key + "pre_focus_mix.weight"].shape[2]
        Cf = Cw // F
        wide = self.so3_linear(self.w[key + "pre_focus_mix.weight"], x)  # (4.1.1)
        r = self.condition
        if key + "radial_hidden_proj.weight" in self.w:
            r = r @ self.w[key + "radial_hidden_proj.weight"]  # (4.2.1)
        kept = self.D[:, self.rows]
        h = self.edge_product(key, kept @ wide[self.j], r)
        h = h.reshape(len(h), len(self.rows), F, Cf)
        share = self.focus(key, h[:, 0])
        for layer in range(o["mixing_layers"]):
            z = self.so2_linear(f"{key}so2_linears.{layer}.", h)
            last = layer == o["mixing_layers"] - 1
            h = h + (z if last else self.edge_gate(f"{key}non_linearities.{layer}.", z))  # (4.5.1)
        h = (h * share[:, None, :, None]).reshape(len(h), len(self.rows), Cw)
        y = self.kappa[:, None] * (kept.transpose(0, 2, 1) @ h)  # (4.7.1)
        message = self.attention(key, wide[:, 0].reshape(self.n, F, Cf), r[:, 0].reshape(-1, F, Cf), y)
        if o.get("message_node_so3"):
            message = message + self.message_node(key + "message_node_grid_product.", message, wide)  # (4.9.1)
        return self.so3_linear(self.w[key + "post_focus_mix.weight"], message)  # (4.10.1)

    def so3_linear(self, weight: Array, x: Array) -> Array:
        lmax = weight.shape[0] - 1
        return np.einsum("npc,pcd->npd", x, weight[degrees(lmax)])  # (5.3.1)

    def edge_product(self, key: str, local: Array, r: Array) -> Array:
        if self.o["radial_so2_mode"] == "none":
            return local * r[:, self.row_degree]  # (4.3.1)
        beta = self.w[key + "radial_degree_mixer.channel_basis"]
        kernels = r.reshape(len(r), -1) @ self.w[key + "radial_degree_mixer.weight"]  # (4.3.2)
        kernels = kernels.reshape(len(r), -1, len(beta))
        mixed, row, start = np.empty_like(local), 0, 0
        for m in range(self.M + 1):
            n = self.L - m + 1
            k = kernels[:, start : start + n * n].reshape(-1, n, n, len(beta))
            start += n * n
            for _ in range(1 if m == 0 else 2):
                rows = slice(row, row + n)
                mixed[:, rows] = np.einsum("eabq,eac,qc->ebc", k, local[:, rows], beta)  # (4.3.3)
                row += n
        return mixed

    def focus(self, key: str, z: Array) -> Array:
        if self.F == 1:
            return np.ones((len(z), 1))
        if self.o["edge_norm"]:
            z = scalar_norm(z, self.w[key + "focus_compete_norm.adam_scale"])
        scores = np.einsum("efc,cf->ef", z, self.w[key + "adamw_focus_compete_w"])
        return 0.98 * softmax(scores) + 0.02 / self.F  # (4.6.1)

    def so2_linear(self, key: str, h: Array) -> Array:
        F, C, n = self.F, h.shape[3], self.L + 1
        out = np.empty_like(h)
        matrix = self.w[key + "weight_m0"].reshape(n, C, F, n, C)
        out[:, :n] = np.einsum("elfc,lcfkd->ekfd", h[:, :n], matrix)  # (4.5.2)
        row = n
        for m in range(1, self.M + 1):
            n = self.L - m + 1
            matrix = self.w[f"{key}weight_m.{m - 1}"].reshape(n, C, F, 2, n, C)
            minus, plus = h[:, row : row + n], h[:, row + n : row + 2 * n]

            def times(x: Array, part: int, matrix: Array = matrix) -> Array:
                return np.einsum("elfc,lcfkd->ekfd", x, matrix[:, :, :, part])

            out[:, row : row + n] = times(minus, 0) - times(plus, 1)  # (4.5.3)
            out[:, row + n : row + 2 * n] = times(minus, 1) + times(plus, 0)
            row += 2 * n
        return out

    def edge_gate(self, key: str, z: Array) -> Array:
        F, C = self.F, z.shape[3]
        weight = self.w[key + "gate_linear.weight"].reshape(C, F, self.L, C)
        gates = logistic(np.einsum("efc,cfld->elfd", z[:, 0], weight))
        out = np.concatenate([silu(z[:, :1]), z[:, 1:] * gates[:, self.row_degree[1:] - 1]], axis=1)
        return out  # (5.2.1)

    def attention(self, key: str, s: Array, r: Array, y: Array) -> Array:
        F, Cf = s.shape[1:]
        normed = scalar_norm(s, self.w[key + "attn_qk_norm.adam_scale"])
        q, k = (
            np.einsum("nfi,ifo->nfo", normed, self.w[f"{key}attn_{name}_proj.weight"].reshape(Cf, F, Cf))
            for name in "qk"
        )  # (4.8.1)
        logits = (q[self.i] * k[self.j]).sum(axis=2) / math.sqrt(Cf)
        logits = logits + np.einsum("efc,cf->ef", r, self.w[key + "adamw_attn_logit_w"][:, :, 0])  # (4.8.2)
        mass = (self.weight**2 * self.gate)[:, None] * np.exp(logits)
        null = np.log1p(np.exp(self.w[key + "adamw_attn_z_bias_raw"][:, 0])) + EPS
        alpha = mass / (null + self.sum(mass))[self.i]  # (4.8.3)
        gate = scalar_norm(s, self.w[key + "attn_output_gate_norm.adam_scale"])
        gate = logistic(np.einsum("nfc,cf->nf", gate, self.w[key + "adamw_attn_gate_w"][:, :, 0]))
        weighted = self.sum(y.reshape(len(y), self.size, F, Cf) * alpha[:, None, :, None])
        return (weighted * gate[:, None, :, None]).reshape(self.n, self.size, F * Cf)  # (4.8.4)

    # section 5

    def norm(self, key: str, x: Array, delta: float) -> Array:
        x = x.copy()
        x[:, 0] -= x[:, 0].mean(axis=1, keepdims=True)
        nu = (x * x / (2 * self.degrees + 1)[:, None]).sum(axis=(1, 2)) / ((self.L + 1) * self.C)  # (5.1.2)
        x = x / np.sqrt(nu + delta)[:, None, None] * self.w[key + ".adam_scale"][self.degrees, 0]
        x[:, 0] += self.w[key + ".bias"]
        return x  # (5.1.3)

    def block(self, key: str, x: Array) -> Array:
        o = self.o
        pre, post, pre_ffn, post_ffn = o.get("sandwich_norm", [False, True, True, False])
        y = self.norm(key + "pre_so2_norm", x, 1e-5) if pre else x
        y = self.convolution(key + "so2_conv.", y)
        x = x + (self.norm(key + "post_so2_norm", y, 1e-5 if o["edge_norm"] else 1.0) if post else y)  # (5.6.1)
        for index in range(o["ffn_blocks"]):
            y = self.norm(f"{key}pre_ffn_norms.{index}", x, 1e-5) if pre_ffn else x
            branches = o["grid_branch"][2] if isinstance(o["grid_branch"], (list, tuple)) else o["grid_branch"]
            y = self.grid_ffn(f"{key}ffns.{index}.", y, "branch" if branches else "glu", branches)
            x = x + (self.norm(f"{key}post_ffn_norms.{index}", y, 1e-5) if post_ffn else y)  # (5.6.2)
        return x

    def gated_ffn(self, key: str, x: Array, lmax: int) -> Array:
        assert lmax == 0
        first, second = self.w[key + "so3_linear_1.weight"][0], self.w[key + "so3_linear_2.weight"][0]
        value, gate = np.split(x @ first, 2, axis=2)
        return (value * silu(gate)) @ second  # (5.2.2), (5.3.2)

    def tables(self, so3: bool) -> tuple[Array, Array]:
        """T (g, row, frame) and Phi (row, frame, g)."""
        points, weights = lebedev(self.L)
        if not so3:
            value = on_s2(self.L, points)[:, :, None]
            back = (2 * self.degrees + 1)[:, None] * math.sqrt(self.L + 1) * value * weights[:, None, None]
            return value / math.sqrt(self.L + 1), back.transpose(1, 2, 0)  # (5.5.1)
        count = 4  # 3 kmax + 1
        rotations = []
        for gamma in 2 * math.pi * np.arange(count) / count:
            roll = np.array([[math.cos(gamma), -math.sin(gamma), 0], [math.sin(gamma), math.cos(gamma), 0], [0, 0, 1]])
            rotations.append(roll @ frames(points))
        D = wigner(self.L, np.concatenate(rotations))
        table = np.zeros((len(D), self.size, 3))
        for slot, k in enumerate((0, -1, 1)):
            for l in range(abs(k), self.L + 1):
                block = slice(l * l, (l + 1) ** 2)
                table[:, block, slot] = D[:, l * l + l + k, block]
        weights = np.tile(weights, count) / count
        back = (2 * self.degrees + 1)[:, None] * table * weights[:, None, None]
        return table, back.transpose(1, 2, 0)  # (5.5.4)

    def product(self, left: Array, right: Array, tables: tuple[Array, Array]) -> Array:
        table, back = tables
        on_grid = np.einsum("gpk,npkc->ngc", table, left) * np.einsum("gpk,npkc->ngc", table, right)
        return np.einsum("pkg,ngc->npkc", back, on_grid)  # (5.4.3)

    def operation(self, key: str, kind: str, left: Array, right: Array, pi: Array, branches: int, cross: bool) -> Array:
        tables = self.tables(left.shape[2] == 3)
        if kind == "glu":
            return self.product(left, right, tables)
        A, B, O = (self.w[f"{key}grid_op.{name}_proj.weight"] for name in ("left", "right", "out"))
        if kind == "mlp":
            u = left if cross else np.concatenate([left, right], axis=3)
            v = right if cross else u
            return self.product(u @ A, v @ B, tables) @ O  # (5.4.4)
        share = softmax(pi @ self.w[key + "grid_op.router.weight"])
        width = left.shape[3]
        split = self.product(left @ A, right @ B, tables).reshape(*left.shape[:3], branches, width)
        return np.einsum("npkbc,nb->npkc", split, share) @ O  # (5.4.5)

    def scalar_path(self, key: str, y: Array, pi: Array, gate: Array) -> Array:
        width = y.shape[3]
        y = y * logistic(np.einsum("ni,io->no", pi, gate))[:, None, None]
        y[:, 0, 0] += silu(pi[:, :width]) * pi[:, width:]
        return y  # (5.4.6)

    def grid_ffn(self, key: str, x: Array, kind: str, branches: int) -> Array:
        so3 = self.o.get("ffn_so3_grid") or key == "output_ffn."
        K = 3 if so3 else 1
        both = self.so3_linear(self.w[key + "so3_linear_1.weight"], x)
        left, right = (half.reshape(*half.shape[:2], K, -1) for half in np.split(both, 2, axis=2))
        pi = np.concatenate([left[:, 0, 0], right[:, 0, 0]], axis=1)  # (5.4.2)
        y = self.operation(key + "act.", kind, left, right, pi, branches, cross=False)
        y = self.scalar_path(key, y, pi, self.w[key + "act.scalar_gate.weight"])
        return self.so3_linear(self.w[key + "so3_linear_2.weight"], y.reshape(*y.shape[:2], -1))  # (5.3.2)

    def message_node(self, key: str, query: Array, context: Array) -> Array:
        F, K = self.F, 3
        W = query.shape[2] // F
        result = np.empty((self.n, self.size, F, W))
        gates = self.w[key + "scalar_gate.weight"].reshape(2 * W, F, W)
        for f in range(F):
            q, c = (field.reshape(self.n, self.size, F, W)[:, :, f] for field in (query, context))
            pi = np.concatenate([q[:, 0], c[:, 0]], axis=1)  # (5.4.2)
            left, right = (
                self.so3_linear(self.w[key + "frame_expand.weight"], field).reshape(self.n, self.size, K, W)
                for field in (q, c)
            )  # (5.4.1)
            y = self.operation(key, "glu", left, right, pi, 0, cross=True)
            y = self.scalar_path(key, y, pi, gates[:, f]).reshape(self.n, self.size, K * W)
            contracted = self.so3_linear(self.w[key + "frame_contract.weight"], y)
            result[:, :, f] = self.w[key + "residual_scale"][f] * contracted  # (5.4.7)
        return result.reshape(self.n, self.size, F * W)

    # section 6

    def fitting(self, d: Array) -> Array:
        key = "fitting.hidden_layers.0.linear."
        value, gate = np.split(d @ self.w[key + "matrix"] + self.w[key + "bias"], 2, axis=1)
        return ((value * silu(gate)) @ self.w["fitting.output_layer.matrix"])[:, 0]  # (6.2.2)
