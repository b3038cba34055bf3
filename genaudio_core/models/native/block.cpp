// A block of dual_path.py (GRU along time, attention across the places of a frame), forwards and backwards, for
// processors with AMX (Intel, Sapphire Rapids and later). Called through ctypes by `native.py`, which says why.
//
// Everything of a frame stays in the first two caches: frames are gone through one by one, from the first to the last
// and back again. What a frame needs on the way back is computed anew from its input and the GRU's state, which costs
// less than writing it to memory and reading it. Products are in bfloat16 with sums in float32, all else is float32.
//
// Shapes: P places (at most 32, so two tiles of rows), C = 64 channels, four heads of 16.

#include <immintrin.h>
#include <omp.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>

namespace {

constexpr int C = 64, G = 3 * C, R = 32, HEADS = 4, D = 16;
constexpr int HELD = 8;  // frames whose share of the weights' gradients is added at once
constexpr float EPS = 1e-5f;
using bf16 = uint16_t;

template <class T>
T* aligned(size_t n) {
    void* p = std::aligned_alloc(64, (n * sizeof(T) + 63) / 64 * 64);
    std::memset(p, 0, n * sizeof(T));
    return static_cast<T*>(p);
}

inline __m512 load(const float* p) { return _mm512_loadu_ps(p); }
inline void store(float* p, __m512 x) { _mm512_storeu_ps(p, x); }
inline __m512 all(float x) { return _mm512_set1_ps(x); }
inline void store16(bf16* p, __m512 x) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), (__m256i)_mm512_cvtneps_pbh(x));
}

inline __m512 exponential(__m512 x) {
    x = _mm512_max_ps(_mm512_min_ps(x, all(88.0f)), all(-87.0f));
    const __m512 z = _mm512_mul_ps(x, all(1.44269504f));
    const __m512 whole = _mm512_roundscale_ps(z, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    const __m512 f = _mm512_sub_ps(z, whole);
    __m512 p = all(1.5403530e-4f);
    for (float c : {1.3333558e-3f, 9.6181291e-3f, 5.5504109e-2f, 2.4022651e-1f, 6.9314718e-1f, 1.0f})
        p = _mm512_fmadd_ps(p, f, all(c));
    return _mm512_scalef_ps(p, whole);
}
inline __m512 inverse(__m512 x) {
    const __m512 y = _mm512_rcp14_ps(x);
    return _mm512_mul_ps(y, _mm512_fnmadd_ps(x, y, all(2.0f)));
}
inline __m512 sigmoid(__m512 x) { return inverse(_mm512_add_ps(all(1.0f), exponential(_mm512_sub_ps(all(0.0f), x)))); }
inline __m512 hyperbolic(__m512 x) { return _mm512_fmsub_ps(all(2.0f), sigmoid(_mm512_add_ps(x, x)), all(1.0f)); }

void transpose16(__m512i* r) {
    __m512i t[16];
    for (int i = 0; i < 16; i += 2) {
        t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
    }
    for (int i = 0; i < 16; i += 4) {
        r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
        r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
        r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
        r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
    }
    for (int i = 0; i < 4; i++) {
        t[i] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0x88);
        t[i + 4] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0xdd);
        t[i + 8] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0x88);
        t[i + 12] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0xdd);
    }
    for (int i = 0; i < 8; i++) {
        r[i] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88);
        r[i + 8] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0xdd);
    }
}

// --- products --------------------------------------------------------------------------------------------------------

void configure() {
    struct __attribute__((packed)) {
        uint8_t palette = 1, start = 0, reserved[14] = {};
        uint16_t bytes[16] = {};
        uint8_t rows[16] = {};
    } config;
    for (int i = 0; i < 8; i++) config.bytes[i] = 64, config.rows[i] = 16;
    _tile_loadconfig(&config);
}

// A matrix (K, N) as the right side of a product: tiles of 32 by 16, pairs of rows side by side.
template <int K, int N>
struct Right {
    uint32_t* tiles;
    Right(const float* w, int per_k, int per_n) : tiles(aligned<uint32_t>(K * N / 2)) {
        for (int n = 0; n < N; n++)
            for (int k = 0; k < K; k += 2) {
                const float a = w[k * per_k + n * per_n], b = w[(k + 1) * per_k + n * per_n];
                const __m128i both = (__m128i)_mm_cvtneps_pbh(_mm_set_ps(0, 0, b, a));
                tiles[((n / 16) * (K / 32) + k / 32) * 256 + (k % 32) / 2 * 16 + n % 16] = _mm_cvtsi128_si32(both);
            }
    }
    ~Right() { std::free(tiles); }
    Right(const Right&) = delete;
};

// out (32, N) = a (32, K) times b.
template <int K, int N>
void product(const bf16* a, const Right<K, N>& b, float* out) {
    const uint32_t* tile = b.tiles;
    if constexpr (K == 64) {
        _tile_loadd(4, a, 128);
        _tile_loadd(5, a + 32, 128);
        _tile_loadd(6, a + 16 * 64, 128);
        _tile_loadd(7, a + 16 * 64 + 32, 128);
        for (int n = 0; n < N; n += 16, tile += 512) {
            _tile_loadd(2, tile, 64);
            _tile_loadd(3, tile + 256, 64);
            _tile_zero(0);
            _tile_zero(1);
            _tile_dpbf16ps(0, 4, 2);
            _tile_dpbf16ps(1, 6, 2);
            _tile_dpbf16ps(0, 5, 3);
            _tile_dpbf16ps(1, 7, 3);
            _tile_stored(0, out + n, N * 4);
            _tile_stored(1, out + 16 * N + n, N * 4);
        }
    } else {
        for (int n = 0; n < N; n += 16) {
            _tile_zero(0);
            _tile_zero(1);
            for (int k = 0; k < K; k += 32, tile += 256) {
                _tile_loadd(2, tile, 64);
                _tile_loadd(4, a + k, K * 2);
                _tile_loadd(5, a + 16 * K + k, K * 2);
                _tile_dpbf16ps(0, 4, 2);
                _tile_dpbf16ps(1, 5, 2);
            }
            _tile_stored(0, out + n, N * 4);
            _tile_stored(1, out + 16 * N + n, N * 4);
        }
    }
}

// Two rows of 16 numbers as one of pairs.
inline __m512i pair(const bf16* upper, const bf16* lower) {
    const __m512i a = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(upper)));
    const __m512i b = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(lower)));
    return _mm512_or_si512(a, _mm512_slli_epi32(b, 16));
}

// Rows of 16 numbers, `per` apart, 32 of them, as the right side (32, 16) of a product.
inline void rows_right(const bf16* from, int per, uint32_t* to) {
    for (int i = 0; i < 16; i++) _mm512_storeu_si512(to + i * 16, pair(from + 2 * i * per, from + (2 * i + 1) * per));
}

// The same rows, transposed, as the right side (32, 32) of a product whose left side has 16 columns of its own: what
// stands beside them there meets the zeros of the second half.
inline void columns_right(const bf16* from, int per, uint32_t* to) {
    for (int half = 0; half < 2; half++, from += 16 * per, to += 256) {
        __m512i v[16];
        for (int i = 0; i < 16; i++)
            v[i] = _mm512_zextsi256_si512(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from + i * per)));
        transpose16(v);
        for (int i = 0; i < 16; i++) _mm512_storeu_si512(to + i * 16, v[i]);
    }
}

// (32, 32), transposed.
inline void turned(const bf16* from, bf16* to) {
    for (int c = 0; c < R; c += 16) {
        __m512i v[16];
        for (int i = 0; i < 16; i++) v[i] = pair(from + 2 * i * R + c, from + (2 * i + 1) * R + c);
        transpose16(v);
        for (int i = 0; i < 16; i++) _mm512_storeu_si512(to + (c + i) * R, v[i]);
    }
}

// out (32, 32), rows of 32 = a (32, 16 and what stands beside), rows `per` apart, times `columns_right`.
inline void times_columns(const bf16* a, int per, const uint32_t* b, float* out) {
    _tile_loadd(4, a, per * 2);
    _tile_loadd(5, a + 16 * per, per * 2);
    _tile_loadd(6, b, 64);
    _tile_loadd(7, b + 256, 64);
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
    _tile_stored(0, out, R * 4);
    _tile_stored(1, out + 16, R * 4);
    _tile_stored(2, out + 16 * R, R * 4);
    _tile_stored(3, out + 16 * R + 16, R * 4);
}

// out (32, 16), rows `per` apart = a (32, 32) times `rows_right`.
inline void times_rows(const bf16* a, const uint32_t* b, float* out, int per) {
    _tile_loadd(4, a, R * 2);
    _tile_loadd(5, a + 16 * R, R * 2);
    _tile_loadd(6, b, 64);
    _tile_zero(0);
    _tile_zero(1);
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 5, 6);
    _tile_stored(0, out, per * 4);
    _tile_stored(1, out + 16 * per, per * 4);
}

// The gradient of a weight, summed over frames: (inputs 64) x (N outputs).
template <int N>
struct Sum {
    float* tiles;      // (N / 16, 4, 16, 16)
    bf16* inputs;      // (HELD, 64, 32), transposed
    uint32_t* grads;   // (HELD, N / 16, 16, 16)
    Sum() : tiles(aligned<float>(64 * N)), inputs(aligned<bf16>(64 * HELD * R)), grads(aligned<uint32_t>(N * HELD * 16)) {}
    ~Sum() { std::free(tiles), std::free(inputs), std::free(grads); }
    Sum(const Sum&) = delete;

    // What frame `held` adds: input (32, 64) and gradient of the output (32, N).
    void hold(int held, const bf16* input, const bf16* grad) {
        for (int c = 0; c < 64; c += 16) {
            __m512i v[16];
            for (int i = 0; i < 16; i++) v[i] = pair(input + 2 * i * 64 + c, input + (2 * i + 1) * 64 + c);
            transpose16(v);
            for (int i = 0; i < 16; i++) _mm512_storeu_si512(inputs + (held * 64 + c + i) * R, v[i]);
        }
        for (int n = 0; n < N; n += 16)
            for (int i = 0; i < 16; i++)
                _mm512_storeu_si512(grads + (held * (N / 16) + n / 16) * 256 + i * 16,
                                    pair(grad + 2 * i * N + n, grad + (2 * i + 1) * N + n));
    }
    void add(int held) {
        for (int n = 0; n < N / 16; n++) {
            float* sum = tiles + n * 1024;
            _tile_loadd(0, sum, 64);
            _tile_loadd(1, sum + 256, 64);
            _tile_loadd(2, sum + 512, 64);
            _tile_loadd(3, sum + 768, 64);
            for (int f = 0; f < held; f++) {
                const bf16* a = inputs + f * 64 * R;
                _tile_loadd(7, grads + (f * (N / 16) + n) * 256, 64);
                _tile_loadd(4, a, 64);
                _tile_loadd(5, a + 16 * R, 64);
                _tile_dpbf16ps(0, 4, 7);
                _tile_dpbf16ps(1, 5, 7);
                _tile_loadd(4, a + 32 * R, 64);
                _tile_loadd(5, a + 48 * R, 64);
                _tile_dpbf16ps(2, 4, 7);
                _tile_dpbf16ps(3, 5, 7);
            }
            _tile_stored(0, sum, 64);
            _tile_stored(1, sum + 256, 64);
            _tile_stored(2, sum + 512, 64);
            _tile_stored(3, sum + 768, 64);
        }
    }
    // Add to a gradient (N, 64).
    void give(float* out) const {
        for (int n = 0; n < N; n++)
            for (int k = 0; k < 64; k++) out[n * 64 + k] += tiles[(n / 16) * 1024 + k * 16 + n % 16];
    }
};

// --- a frame ---------------------------------------------------------------------------------------------------------

struct Weights {  // as torch has them
    const float *norm1, *shift1, *wih, *whh, *bih, *bhh, *wo, *norm2, *shift2, *wqkv, *bqkv, *wo2;
};

struct Frame {
    float mean1[R], rstd1[R], mean2[R], rstd2[R];
    alignas(64) bf16 y[R * C], before[R * C], hidden[R * C], y2[R * C], heard[R * C];
    alignas(64) float gx[R * G], gh[R * G], x1[R * C], made[R * C];
    alignas(64) float asked[R * G];    // queries, keys and values before their biases
    alignas(64) bf16 qkv[R * G + 64];  // and after, queries by a quarter (16 ** -0.5), which bfloat16 does exactly
    alignas(64) float weight[HEADS * R * R];  // what a place gives for each other
    alignas(64) bf16 weight_[HEADS * R * R];
    alignas(64) uint32_t right[512];
};

void norm(const float* x, const float* weight, const float* shift, int P, float* mean, float* rstd, bf16* y) {
    for (int i = 0; i < P; i++, x += C, y += C) {
        __m512 v[4], sum = _mm512_setzero_ps(), square = sum;
        for (int c = 0; c < 4; c++) v[c] = load(x + 16 * c), sum = _mm512_add_ps(sum, v[c]);
        const float m = _mm512_reduce_add_ps(sum) / C;
        for (int c = 0; c < 4; c++) v[c] = _mm512_sub_ps(v[c], all(m)), square = _mm512_fmadd_ps(v[c], v[c], square);
        const float r = 1.0f / __builtin_sqrtf(_mm512_reduce_add_ps(square) / C + EPS);
        mean[i] = m, rstd[i] = r;
        for (int c = 0; c < 4; c++)
            store16(y + 16 * c, _mm512_fmadd_ps(_mm512_mul_ps(v[c], all(r)), load(weight + 16 * c), load(shift + 16 * c)));
    }
}

// dx (P, C) = through + the gradient through a norm of dy.
void norm_back(const float* x, const float* weight, int P, const float* mean, const float* rstd, const float* dy,
               const float* through, float* dx, float* dweight, float* dshift) {
    __m512 dw[4], ds[4];
    for (int c = 0; c < 4; c++) dw[c] = load(dweight + 16 * c), ds[c] = load(dshift + 16 * c);
    for (int i = 0; i < P; i++) {
        __m512 hat[4], g[4], sum = _mm512_setzero_ps(), dot = sum;
        for (int c = 0; c < 4; c++) {
            hat[c] = _mm512_mul_ps(_mm512_sub_ps(load(x + i * C + 16 * c), all(mean[i])), all(rstd[i]));
            const __m512 d = load(dy + i * C + 16 * c);
            dw[c] = _mm512_fmadd_ps(d, hat[c], dw[c]);
            ds[c] = _mm512_add_ps(d, ds[c]);
            g[c] = _mm512_mul_ps(d, load(weight + 16 * c));
            sum = _mm512_add_ps(sum, g[c]);
            dot = _mm512_fmadd_ps(g[c], hat[c], dot);
        }
        const __m512 a = all(_mm512_reduce_add_ps(sum) / C), b = all(_mm512_reduce_add_ps(dot) / C);
        for (int c = 0; c < 4; c++) {
            const __m512 d = _mm512_sub_ps(g[c], _mm512_fmadd_ps(hat[c], b, a));
            store(dx + i * C + 16 * c, _mm512_fmadd_ps(d, all(rstd[i]), load(through + i * C + 16 * c)));
        }
    }
    for (int c = 0; c < 4; c++) store(dweight + 16 * c, dw[c]), store(dshift + 16 * c, ds[c]);
}

struct Forward {
    const Weights& w;
    int P;
    Right<C, G> ih, hh, qkv;
    Right<C, C> o, o2;
    Forward(const Weights& w, int P)
        : w(w), P(P), ih(w.wih, 1, C), hh(w.whh, 1, C), qkv(w.wqkv, 1, C), o(w.wo, 1, C), o2(w.wo2, 1, C) {}

    // x and the state before (P, C) -> the state (P, C) after and, if wanted, the output (P, C). In `f` stay: reset,
    // update and candidate (gx), the share of h in the candidate (gh), and all that attention saw.
    void run(const float* x, const float* before, float* hidden, float* out, Frame& f, bool back) const {
        norm(x, w.norm1, w.shift1, P, f.mean1, f.rstd1, f.y);
        for (int i = 0; i < P * C; i += 16) store16(f.before + i, load(before + i));
        product(f.y, ih, f.gx);
        product(f.before, hh, f.gh);
        for (int i = 0; i < P; i++) {
            float *gx = f.gx + i * G, *gh = f.gh + i * G;
            for (int c = 0; c < C; c += 16) {
                auto bias = [&](int at) { return _mm512_add_ps(load(w.bih + at + c), load(w.bhh + at + c)); };
                const __m512 r = sigmoid(_mm512_add_ps(_mm512_add_ps(load(gx + c), load(gh + c)), bias(0)));
                const __m512 z = sigmoid(_mm512_add_ps(_mm512_add_ps(load(gx + C + c), load(gh + C + c)), bias(C)));
                const __m512 kept = _mm512_add_ps(load(gh + 2 * C + c), load(w.bhh + 2 * C + c));
                const __m512 given = _mm512_add_ps(load(gx + 2 * C + c), load(w.bih + 2 * C + c));
                const __m512 n = hyperbolic(_mm512_fmadd_ps(r, kept, given));
                const __m512 h = _mm512_fmadd_ps(z, _mm512_sub_ps(load(before + i * C + c), n), n);
                store(gx + c, r), store(gx + C + c, z), store(gx + 2 * C + c, n), store(gh + 2 * C + c, kept);
                if (!back) store(hidden + i * C + c, h);
                store16(f.hidden + i * C + c, h);
            }
        }
        product(f.hidden, o, f.x1);
        for (int i = 0; i < P * C; i += 16) store(f.x1 + i, _mm512_add_ps(load(f.x1 + i), load(x + i)));
        norm(f.x1, w.norm2, w.shift2, P, f.mean2, f.rstd2, f.y2);
        product(f.y2, qkv, f.asked);
        for (int i = 0; i < P; i++)
            for (int c = 0; c < G; c += 16) {
                const __m512 v = _mm512_add_ps(load(f.asked + i * G + c), load(w.bqkv + c));
                store16(f.qkv + i * G + c, c < C ? _mm512_mul_ps(v, all(0.25f)) : v);
            }
        attend(f);
        if (back) return;
        product(f.heard, o2, f.made);
        for (int i = 0; i < P * C; i += 16) store(out + i, _mm512_add_ps(load(f.made + i), load(f.x1 + i)));
    }

    void attend(Frame& f) const {
        const __mmask16 last = static_cast<__mmask16>((1u << (P > 16 ? P - 16 : 0)) - 1);
        const __mmask16 first = P >= 16 ? 0xffff : static_cast<__mmask16>((1u << P) - 1);
        for (int h = 0; h < HEADS; h++) {
            float* weight = f.weight + h * R * R;
            bf16* weight_ = f.weight_ + h * R * R;
            columns_right(f.qkv + C + h * D, G, f.right);
            times_columns(f.qkv + h * D, G, f.right, weight);
            for (int i = 0; i < R; i++) {
                if (i >= P) {
                    store(weight + i * R, _mm512_setzero_ps()), store(weight + i * R + 16, _mm512_setzero_ps());
                    continue;
                }
                __m512 a = _mm512_mask_mov_ps(all(-1e30f), first, load(weight + i * R));
                __m512 b = _mm512_mask_mov_ps(all(-1e30f), last, load(weight + i * R + 16));
                const __m512 most = all(_mm512_reduce_max_ps(_mm512_max_ps(a, b)));
                a = _mm512_maskz_mov_ps(first, exponential(_mm512_sub_ps(a, most)));
                b = _mm512_maskz_mov_ps(last, exponential(_mm512_sub_ps(b, most)));
                const __m512 scale = all(1.0f / _mm512_reduce_add_ps(_mm512_add_ps(a, b)));
                a = _mm512_mul_ps(a, scale), b = _mm512_mul_ps(b, scale);
                store(weight + i * R, a), store(weight + i * R + 16, b);
                store16(weight_ + i * R, a), store16(weight_ + i * R + 16, b);
            }
            rows_right(f.qkv + 2 * C + h * D, G, f.right);
            times_rows(weight_, f.right, f.made + h * D, C);
        }
        for (int i = 0; i < P * C; i += 16) store16(f.heard + i, load(f.made + i));
    }
};

struct Gradients {
    Sum<G> ih, hh, qkv;
    Sum<C> o, o2;
    alignas(64) float norm1[C] = {}, shift1[C] = {}, norm2[C] = {}, shift2[C] = {}, bih[G] = {}, bhh[G] = {}, bqkv[G] = {};
};

struct Backward {
    const Forward& forward;
    Right<G, C> ih, hh, qkv;  // the other way
    Right<C, C> o, o2;
    explicit Backward(const Forward& f)
        : forward(f), ih(f.w.wih, C, 1), hh(f.w.whh, C, 1), qkv(f.w.wqkv, C, 1), o(f.w.wo, C, 1), o2(f.w.wo2, C, 1) {}

    struct Scratch {
        alignas(64) bf16 dout[R * C] = {}, dx1_[R * C] = {}, dqkv_[R * G] = {}, dgx_[R * G] = {}, dgh_[R * G] = {};
        alignas(64) float da[R * C] = {}, dqkv[R * G] = {}, dy[R * C] = {}, dx1[R * C] = {}, dh[R * C] = {}, dw[R * R] = {};
        alignas(64) bf16 da_[R * C + 64] = {}, dw_[R * R] = {}, turned_[R * R] = {};
    };

    // Gradient of a frame's output (P, C) and of the state after it (`carry`, becomes that of the state before).
    void run(const float* x, const float* before, const float* dout, float* dx, float* carry, Frame& f, Scratch& s,
             Gradients& g, int held) const {
        const int P = forward.P;
        const Weights& w = forward.w;
        forward.run(x, before, nullptr, nullptr, f, true);
        for (int i = 0; i < P * C; i += 16) store16(s.dout + i, load(dout + i));
        g.o2.hold(held, f.heard, s.dout);
        product(s.dout, o2, s.da);
        for (int i = 0; i < P * C; i += 16) store16(s.da_ + i, load(s.da + i));
        attend_back(f, s, P);
        for (int i = 0; i < P; i++)
            for (int c = 0; c < G; c += 16) {
                const __m512 d = _mm512_mul_ps(load(s.dqkv + i * G + c), all(c < C ? 0.25f : 1.0f));
                store16(s.dqkv_ + i * G + c, d);
                store(g.bqkv + c, _mm512_add_ps(load(g.bqkv + c), d));
            }
        g.qkv.hold(held, f.y2, s.dqkv_);
        product(s.dqkv_, qkv, s.dy);
        norm_back(f.x1, w.norm2, P, f.mean2, f.rstd2, s.dy, dout, s.dx1, g.norm2, g.shift2);
        for (int i = 0; i < P * C; i += 16) store16(s.dx1_ + i, load(s.dx1 + i));
        g.o.hold(held, f.hidden, s.dx1_);
        product(s.dx1_, o, s.dh);
        for (int i = 0; i < P; i++) {
            const float *gx = f.gx + i * G, *gh = f.gh + i * G;
            for (int c = 0; c < C; c += 16) {
                const __m512 one = all(1.0f), r = load(gx + c), z = load(gx + C + c), n = load(gx + 2 * C + c);
                const __m512 dh = _mm512_add_ps(load(s.dh + i * C + c), load(carry + i * C + c));
                const __m512 unlike = _mm512_sub_ps(load(before + i * C + c), n);
                const __m512 dz = _mm512_mul_ps(_mm512_mul_ps(dh, unlike), _mm512_mul_ps(z, _mm512_sub_ps(one, z)));
                const __m512 dn = _mm512_mul_ps(_mm512_mul_ps(dh, _mm512_sub_ps(one, z)), _mm512_fnmadd_ps(n, n, one));
                const __m512 kept = load(gh + 2 * C + c);
                const __m512 dr = _mm512_mul_ps(_mm512_mul_ps(dn, kept), _mm512_mul_ps(r, _mm512_sub_ps(one, r)));
                const __m512 dkept = _mm512_mul_ps(dn, r);
                store(carry + i * C + c, _mm512_mul_ps(dh, z));
                bf16 *a = s.dgx_ + i * G + c, *b = s.dgh_ + i * G + c;
                store16(a, dr), store16(a + C, dz), store16(a + 2 * C, dn);
                store16(b, dr), store16(b + C, dz), store16(b + 2 * C, dkept);
                auto add = [&](float* to, __m512 d) { store(to, _mm512_add_ps(load(to), d)); };
                add(g.bih + c, dr), add(g.bih + C + c, dz), add(g.bih + 2 * C + c, dn);
                add(g.bhh + c, dr), add(g.bhh + C + c, dz), add(g.bhh + 2 * C + c, dkept);
            }
        }
        g.ih.hold(held, f.y, s.dgx_);
        g.hh.hold(held, f.before, s.dgh_);
        product(s.dgh_, hh, s.dh);
        for (int i = 0; i < P * C; i += 16) store(carry + i, _mm512_add_ps(load(carry + i), load(s.dh + i)));
        product(s.dgx_, ih, s.dy);
        norm_back(x, w.norm1, P, f.mean1, f.rstd1, s.dy, s.dx1, dx, g.norm1, g.shift1);
    }

    void attend_back(Frame& f, Scratch& s, int P) const {
        for (int h = 0; h < HEADS; h++) {
            const float* weight = f.weight + h * R * R;
            const bf16 *q = f.qkv + h * D, *k = q + C, *v = k + C, *da = s.da_ + h * D;
            float* dq = s.dqkv + h * D;
            columns_right(v, G, f.right);
            times_columns(da, C, f.right, s.dw);
            for (int i = 0; i < P; i++) {
                const __m512 a = load(s.dw + i * R), b = load(s.dw + i * R + 16);
                const __m512 wa = load(weight + i * R), wb = load(weight + i * R + 16);
                const __m512 dot = all(_mm512_reduce_add_ps(_mm512_fmadd_ps(a, wa, _mm512_mul_ps(b, wb))));
                store16(s.dw_ + i * R, _mm512_mul_ps(wa, _mm512_sub_ps(a, dot)));
                store16(s.dw_ + i * R + 16, _mm512_mul_ps(wb, _mm512_sub_ps(b, dot)));
            }
            rows_right(k, G, f.right);
            times_rows(s.dw_, f.right, dq, G);
            turned(s.dw_, s.turned_);
            rows_right(q, G, f.right);
            times_rows(s.turned_, f.right, dq + C, G);
            turned(f.weight_ + h * R * R, s.turned_);
            rows_right(da, C, f.right);
            times_rows(s.turned_, f.right, dq + 2 * C, G);
        }
    }
};

template <class T>
struct Own {  // on the heap, aligned and zeroed
    T* p;
    Own() : p(new (aligned<char>(sizeof(T))) T()) {}
    ~Own() { p->~T(), std::free(p); }
    T& operator*() const { return *p; }
    T* operator->() const { return p; }
};

}  // namespace

extern "C" {

// 0 if this processor and this system let us.
int genaudio_begin() {
    unsigned a = 7, b = 0, c = 0, d = 0;
    __asm__("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
    if (!(d & (1u << 22)) || !(d & (1u << 24))) return 1;  // bfloat16 tiles, tiles
    return syscall(SYS_arch_prctl, 0x1023, 18) ? 2 : 0;    // ask for the room that tiles take
}

// x (rows, T, P, 64) and the state before it (rows, P, 64) -> out, and the state after every frame. `weights`: twelve
// pointers, in the order of `Weights`.
void genaudio_forward(const float* x, const float* first, const float* const* weights, float* out, float* hidden, int rows,
                      int T, int P, int threads) {
    const Weights& w = *reinterpret_cast<const Weights*>(weights);
    const Forward forward(w, P);
    const size_t one = static_cast<size_t>(P) * C;
#pragma omp parallel num_threads(threads)
    {
        configure();
        Own<Frame> f;
#pragma omp for schedule(dynamic)
        for (int row = 0; row < rows; row++)
            for (int t = 0; t < T; t++) {
                const size_t at = (static_cast<size_t>(row) * T + t) * one;
                forward.run(x + at, t ? hidden + at - one : first + row * one, hidden + at, out + at, *f, false);
            }
        _tile_release();
    }
}

// Adds the gradients of the weights to `grads`, which are zeros, in the same order.
void genaudio_backward(const float* x, const float* first, const float* const* weights, const float* hidden,
                       const float* dout, float* dx, float* const* grads, int rows, int T, int P, int threads) {
    const Weights& w = *reinterpret_cast<const Weights*>(weights);
    const Forward forward(w, P);
    const Backward backward(forward);
    const size_t one = static_cast<size_t>(P) * C;
#pragma omp parallel num_threads(threads)
    {
        configure();
        Own<Frame> f;
        Own<Backward::Scratch> s;
        Own<Gradients> g;
        std::vector<float> carry(static_cast<size_t>(R) * C);
        int held = 0;
        auto add = [&] {
            g->ih.add(held), g->hh.add(held), g->o.add(held), g->qkv.add(held), g->o2.add(held);
            held = 0;
        };
#pragma omp for schedule(dynamic)
        for (int row = 0; row < rows; row++) {
            std::fill(carry.begin(), carry.end(), 0.0f);
            for (int t = T - 1; t >= 0; t--) {
                const size_t at = (static_cast<size_t>(row) * T + t) * one;
                backward.run(x + at, t ? hidden + at - one : first + row * one, dout + at, dx + at, carry.data(), *f, *s,
                             *g, held);
                if (++held == HELD) add();
            }
        }
        add();
        _tile_release();
#pragma omp critical
        {
            auto plus = [](float* to, const float* from, int n) {
                for (int i = 0; i < n; i++) to[i] += from[i];
            };
            plus(grads[0], g->norm1, C), plus(grads[1], g->shift1, C);
            g->ih.give(grads[2]), g->hh.give(grads[3]);
            plus(grads[4], g->bih, G), plus(grads[5], g->bhh, G);
            g->o.give(grads[6]);
            plus(grads[7], g->norm2, C), plus(grads[8], g->shift2, C);
            g->qkv.give(grads[9]);
            plus(grads[10], g->bqkv, G);
            g->o2.give(grads[11]);
        }
    }
}
}
