// What products of a few rows with a weight have in common: their arguments, which row of the weight goes where,
// and what becomes of the results.
#pragma once
#include "common.cuh"

// What becomes of the products.
enum Use { QKV, ADD, GATED, LOGITS };

// `GemvArgs` in kernels.rs.
struct GemvArgs {
    const void* weight;   // [rows, columns]
    const void* scales;   // of quantised weights
    const void* x;        // [batch, columns]: f32 where `norm` is there, else activations
    const void* norm;     // weight of the RMSNorm before, if there is one
    void* out;            // QKV: queries of [batch, q + 2 kv]; ADD: residual; GATED: activations; LOGITS: f32
    const Row* batch;
    Heads heads;
    int32_t rows, columns, layer;
    float eps;
};

// Rows of a weight go in tiles of TILE: the row in a place of a tile, -1 for none. Rows that belong together, the halves
// of a rotated pair, gate and up, stand half a tile apart.
template <int USE, int TILE = 16> __device__ __forceinline__ int weight_row(const GemvArgs& a, int tile, int place) {
    constexpr int HALF = TILE / 2;
    const int pair = tile * HALF + place % HALF;
    if (USE == GATED) {
        int half = a.rows / 2;
        return pair < half ? (place < HALF ? pair : half + pair) : -1;
    }
    if (USE == QKV) {
        const Heads& h = a.heads;
        const int pairs = (h.query + h.key_value) * h.half, pair_tiles = (pairs + HALF - 1) / HALF;
        if (tile < pair_tiles)
            return pair < pairs ? pair / h.half * h.dim + pair % h.half + (place < HALF ? 0 : h.half) : -1;
        int single = (tile - pair_tiles) * TILE + place, plain = h.dim - 2 * h.half;
        if (single < (h.query + h.key_value) * plain) return single / plain * h.dim + 2 * h.half + single % plain;
        single += pairs * 2;  // what is left are the values, in order
        return single < a.rows ? single : -1;
    }
    int row = tile * TILE + place;
    return row < a.rows ? row : -1;
}

// Tiles of a weight.
template <int USE, int TILE> __device__ __forceinline__ int tile_count(const GemvArgs& a) {
    constexpr int HALF = TILE / 2;
    if (USE == GATED) return (a.rows / 2 + HALF - 1) / HALF;
    if (USE == QKV) {
        const int pairs = (a.heads.query + a.heads.key_value) * a.heads.half;
        return (pairs + HALF - 1) / HALF + (a.rows - 2 * pairs + TILE - 1) / TILE;
    }
    return (a.rows + TILE - 1) / TILE;
}

// What a thread needs to finish a rotated pair of QKV, read while the product is under way. Where the pair goes is found
// out afterwards: registers are few.
struct Rotation {
    float c, s;
};
// `place` in the first half of the tile.
template <int TILE = 16>
__device__ __forceinline__ Rotation rotation(const GemvArgs& a, size_t batch, int tile, int place) {
    const Heads& h = a.heads;
    const Row& row = a.batch[batch];
    Rotation r = {1, 0};
    const int pair = tile * (TILE / 2) + place;
    if (pair < (h.query + h.key_value) * h.half) {
        const float* table = (row.is_long ? h.rope_long : h.rope_short) + (size_t)row.position * 2 * h.half;
        r.c = table[pair % h.half];
        r.s = table[h.half + pair % h.half];
    }
    return r;
}

// A finished value of QKV: to the queries, or into the cache.
template <class Act>
__device__ __forceinline__ void put(const GemvArgs& a, size_t batch, int row, float value) {
    const Heads& h = a.heads;
    const Row& state = a.batch[batch];
    const int head = row / h.dim, at = row % h.dim;
    if (head < h.query) {
        ((Act*)a.out)[batch * (h.query + 2 * h.key_value) * h.dim + row] = from_f32<Act>(value);
    } else {
        const int part = head >= h.query + h.key_value;
        char* cache = cached(state, h, a.layer, part, head - h.query - part * h.key_value, state.position);
        keep_as(cache, h.kv_format, at, value);
    }
}

// The values of a place in the first half of a tile of QKV and of its partner in the second.
template <class Act, int TILE = 16>
__device__ __forceinline__ void finish_qkv(const GemvArgs& a, const Rotation& r, size_t batch, int tile, int place,
                                           float first, float second) {
    const Heads& h = a.heads;
    const int pairs = (h.query + h.key_value) * h.half;
    constexpr int HALF = TILE / 2;
    if (tile < (pairs + HALF - 1) / HALF) {
        const int pair = tile * HALF + place;
        if (pair >= pairs) return;
        const int at = pair / h.half * h.dim + pair % h.half;
        put<Act>(a, batch, at, first * r.c - second * r.s);
        put<Act>(a, batch, at + h.half, second * r.c + first * r.s);
    } else {
        const int at = weight_row<QKV, TILE>(a, tile, place), other = weight_row<QKV, TILE>(a, tile, place + HALF);
        if (at >= 0) put<Act>(a, batch, at, first);
        if (other >= 0) put<Act>(a, batch, other, second);
    }
}

// The same of a tile of gates and ups.
template <class Act, int TILE = 16>
__device__ __forceinline__ void finish_gated(const GemvArgs& a, size_t batch, int tile, int place, float gate, float up) {
    const int at = tile * (TILE / 2) + place;
    if (at < a.rows / 2)
        ((Act*)a.out)[batch * (a.rows / 2) + at] = from_f32<Act>(gate / (1 + __expf(-gate)) * up);
}
