// What `training.fast_trunk` computes with: depthwise convolutions and moments of values in bfloat16, channels last,
// with sums in float32. For CPUs with AVX-512 and its bfloat16; channels come in multiples of 16.
#include <ATen/Parallel.h>
#include <immintrin.h>
#include <torch/extension.h>

#include <mutex>
#include <vector>

namespace {

using Half = uint16_t;  // the bits of a bfloat16
constexpr int LANES = 16;

inline __m512 load(const Half* from) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)from)), 16));
}

inline __m512 ahead(const Half* from, size_t step) {  // and asks for what is read soon
    _mm_prefetch((const char*)(from + 12 * step), _MM_HINT_T0);
    return load(from);
}

inline void store(Half* to, __m512 value, size_t step = 0) {
    if (step) __builtin_prefetch(to + 12 * step, 1);
    _mm256_storeu_si256((__m256i*)to, (__m256i)_mm512_cvtneps_pbh(value));
}

inline __m512 relu6(__m512 value) {
    return _mm512_min_ps(_mm512_max_ps(value, _mm512_setzero_ps()), _mm512_set1_ps(6.f));
}

inline __m512 where_alive(__m512 value, __m512 gradient) {  // the gradient where ReLU6 lets it through
    __mmask16 above = _mm512_cmp_ps_mask(value, _mm512_setzero_ps(), _CMP_GT_OQ);
    return _mm512_maskz_mov_ps(above & _mm512_cmp_ps_mask(value, _mm512_set1_ps(6.f), _CMP_LT_OQ), gradient);
}

class Plane {  // 16 channels of one image in float32, with zeros around
  public:
    Plane(int height, int width) : width(width), values(((size_t)height * width + 1) * LANES, 0.f) {}
    float* at(int y, int x) {
        auto aligned = ((uintptr_t)values.data() + 63) & ~(uintptr_t)63;
        return (float*)aligned + ((size_t)y * width + x) * LANES;
    }

  private:
    int width;
    std::vector<float> values;
};

struct Shape {
    int images, height, width, channels;
};

// emits R outputs of a row from x on: sums over k of weights[k] * from[output * S + k]
template <int K, int S, int R, typename Emit>
inline void some(Plane& from, int y, int x, const float* weights, Emit& emit) {
    __m512 sums[R];
    for (int r = 0; r < R; r++) sums[r] = _mm512_setzero_ps();
    for (int i = 0; i < K; i++) {
        const float* line = from.at(y * S + i, x * S);
#pragma GCC unroll 5
        for (int j = 0; j < K; j++) {
            __m512 weight = _mm512_loadu_ps(weights + (i * K + j) * LANES);
#pragma GCC unroll 8
            for (int r = 0; r < R; r++)
                sums[r] = _mm512_fmadd_ps(weight, _mm512_load_ps(line + (r * S + j) * LANES), sums[r]);
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < R; r++) emit(x + r, sums[r]);
}

template <int K, int S, typename Emit>
inline void row(Plane& from, int y, int outputs, const float* weights, Emit emit) {
    int x = 0;
    for (; x + 8 <= outputs; x += 8) some<K, S, 8>(from, y, x, weights, emit);
    switch (outputs - x) {
        case 7: some<K, S, 7>(from, y, x, weights, emit); break;
        case 6: some<K, S, 6>(from, y, x, weights, emit); break;
        case 5: some<K, S, 5>(from, y, x, weights, emit); break;
        case 4: some<K, S, 4>(from, y, x, weights, emit); break;
        case 3: some<K, S, 3>(from, y, x, weights, emit); break;
        case 2: some<K, S, 2>(from, y, x, weights, emit); break;
        case 1: some<K, S, 1>(from, y, x, weights, emit); break;
    }
}

template <int K>
inline void fill(Plane& plane, const Half* from, const float* shift, Shape shape) {
    __m512 added = _mm512_loadu_ps(shift);
    for (int y = 0; y < shape.height; y++)
        for (int x = 0; x < shape.width; x++) {
            __m512 value = ahead(from + ((size_t)y * shape.width + x) * shape.channels, shape.channels);
            _mm512_store_ps(plane.at(y + K / 2, x + K / 2), relu6(_mm512_add_ps(value, added)));
        }
}

template <int K, int S>
void forward(const Half* in, const float* shift, const float* weights, const float* bias, Half* out, Shape shape) {
    auto [n, h, w, c] = shape;
    int out_h = (h - 1) / S + 1, out_w = (w - 1) / S + 1, chunks = c / LANES;
    at::parallel_for(0, n, 1, [&, h = h, w = w, c = c](int64_t begin, int64_t end) {
        Plane plane(h + K - 1, w + K - 1);
        for (int64_t task = begin * chunks; task < end * chunks; task++) {
            int64_t image = task / chunks, first = task % chunks * LANES;
            fill<K>(plane, in + image * h * w * c + first, shift + first, shape);
            __m512 added = _mm512_loadu_ps(bias + first);
            Half* target = out + image * out_h * out_w * c + first;
            for (int y = 0; y < out_h; y++)
                row<K, S>(plane, y, out_w, weights + first * K * K, [&](int x, __m512 sum) {
                    store(target + ((size_t)y * out_w + x) * c, relu6(_mm512_add_ps(sum, added)), c);
                });
        }
    });
}

// The gradient of the input is a convolution of that of the output, spread out to steps of S, with flipped weights.
template <int K, int S>
void backward(const Half* in, const float* shift, const float* flipped, const Half* out, const Half* gradient,
              Half* to_in, float* to_weights, float* to_bias, float* to_shift, Shape shape) {
    auto [n, h, w, c] = shape;
    int out_h = (h - 1) / S + 1, out_w = (w - 1) / S + 1, chunks = c / LANES;
    constexpr int TAPS = K * K, SUMS = TAPS + 2;  // of weights, of the bias, of the shift
    std::mutex one;
    at::parallel_for(0, n, 1, [&, h = h, w = w, c = c](int64_t begin, int64_t end) {
        Plane plane(h + K - 1, w + K - 1), spread(h + K + 1, w + K + 1);
        std::vector<float> totals((size_t)chunks * SUMS * LANES, 0.f);
        for (int64_t task = begin * chunks; task < end * chunks; task++) {
            int64_t image = task / chunks, first = task % chunks * LANES, place = image * out_h * out_w * c + first;
            float* total = totals.data() + first * SUMS;
            __m512 sums[TAPS], bias_sum = _mm512_loadu_ps(total + TAPS * LANES);
            __m512 shift_sum = _mm512_loadu_ps(total + (TAPS + 1) * LANES);
            for (int k = 0; k < TAPS; k++) sums[k] = _mm512_loadu_ps(total + k * LANES);
            fill<K>(plane, in + image * h * w * c + first, shift + first, shape);
            for (int y = 0; y < out_h; y++)
                for (int x = 0; x < out_w; x++) {
                    size_t at = place + ((size_t)y * out_w + x) * c;
                    __m512 value = where_alive(ahead(out + at, c), ahead(gradient + at, c));
                    bias_sum = _mm512_add_ps(bias_sum, value);
                    _mm512_store_ps(spread.at(y * S + K / 2, x * S + K / 2), value);
#pragma GCC unroll 5
                    for (int i = 0; i < K; i++) {
                        const float* line = plane.at(y * S + i, x * S);
#pragma GCC unroll 5
                        for (int j = 0; j < K; j++)
                            sums[i * K + j] = _mm512_fmadd_ps(value, _mm512_load_ps(line + j * LANES), sums[i * K + j]);
                    }
                }
            Half* target = to_in + image * h * w * c + first;
            for (int y = 0; y < h; y++)
                row<K, 1>(spread, y, w, flipped + first * TAPS, [&](int x, __m512 sum) {
                    __m512 kept = where_alive(_mm512_load_ps(plane.at(y + K / 2, x + K / 2)), sum);
                    shift_sum = _mm512_add_ps(shift_sum, kept);
                    store(target + ((size_t)y * w + x) * c, kept, c);
                });
            for (int k = 0; k < TAPS; k++) _mm512_storeu_ps(total + k * LANES, sums[k]);
            _mm512_storeu_ps(total + TAPS * LANES, bias_sum);
            _mm512_storeu_ps(total + (TAPS + 1) * LANES, shift_sum);
        }
        std::lock_guard<std::mutex> turn(one);
        for (int channel = 0; channel < c; channel++) {
            int chunk = channel / LANES, lane = channel % LANES;
            const float* total = totals.data() + (size_t)chunk * SUMS * LANES + lane;
            for (int k = 0; k < TAPS; k++) to_weights[(chunk * TAPS + k) * LANES + lane] += total[k * LANES];
            to_bias[channel] += total[TAPS * LANES];
            to_shift[channel] += total[(TAPS + 1) * LANES];
        }
    });
}

const Half* bits(const torch::Tensor& values) { return (const Half*)values.data_ptr<at::BFloat16>(); }
Half* bits(torch::Tensor& values) { return (Half*)values.data_ptr<at::BFloat16>(); }
float* floats(const torch::Tensor& values) { return values.data_ptr<float>(); }

template <typename Call3, typename Call5>
void by_kernel(int64_t kernel, Call3 three, Call5 five) {
    TORCH_CHECK(kernel == 3 || kernel == 5, "a kernel of 3 or 5, not ", kernel);
    kernel == 3 ? three() : five();
}

}  // namespace

// x (N, H, W, C) bfloat16, shift (C), weights (C / 16, K, K, 16), bias (C) -> (N, H / stride, W / stride, C), both
// sides of it through ReLU6: relu6(convolution(relu6(x + shift)) + bias)
torch::Tensor depthwise(torch::Tensor x, torch::Tensor shift, torch::Tensor weights, torch::Tensor bias, int64_t stride) {
    Shape s{(int)x.size(0), (int)x.size(1), (int)x.size(2), (int)x.size(3)};
    TORCH_CHECK(s.channels % LANES == 0 && x.is_contiguous(), "channels last, in multiples of 16");
    auto out = torch::empty({s.images, (s.height - 1) / stride + 1, (s.width - 1) / stride + 1, s.channels}, x.options());
    auto call = [&](auto run) { run(bits(x), floats(shift), floats(weights), floats(bias), bits(out), s); };
    by_kernel(weights.size(1), [&] { stride == 1 ? call(forward<3, 1>) : call(forward<3, 2>); },
              [&] { stride == 1 ? call(forward<5, 1>) : call(forward<5, 2>); });
    return out;
}

// -> the gradients of x, weights, bias and shift
std::vector<torch::Tensor> depthwise_backward(torch::Tensor x, torch::Tensor shift, torch::Tensor flipped,
                                              torch::Tensor out, torch::Tensor gradient, int64_t stride) {
    Shape s{(int)x.size(0), (int)x.size(1), (int)x.size(2), (int)x.size(3)};
    auto to_x = torch::empty_like(x), to_weights = torch::zeros_like(flipped);
    auto to_bias = torch::zeros_like(shift), to_shift = torch::zeros_like(shift);
    auto call = [&](auto run) {
        run(bits(x), floats(shift), floats(flipped), bits(out), bits(gradient), bits(to_x), floats(to_weights),
            floats(to_bias), floats(to_shift), s);
    };
    by_kernel(flipped.size(1), [&] { stride == 1 ? call(backward<3, 1>) : call(backward<3, 2>); },
              [&] { stride == 1 ? call(backward<5, 1>) : call(backward<5, 2>); });
    return {to_x, to_weights, to_bias, to_shift};
}

// x (N, P, C) bfloat16 -> mean and standard deviation over P, (N, 2, C) float32
torch::Tensor moments(torch::Tensor x) {
    int64_t n = x.size(0), p = x.size(1), c = x.size(2);
    TORCH_CHECK(c % LANES == 0 && x.is_contiguous(), "channels last, in multiples of 16");
    auto out = torch::empty({n, 2, c}, x.options().dtype(torch::kFloat32));
    __m512 share = _mm512_set1_ps(1.f / p);
    at::parallel_for(0, n, 1, [&](int64_t begin, int64_t end) {
        for (int64_t task = begin * c; task < end * c; task += LANES) {
            int64_t image = task / c, first = task % c;
            const Half* from = bits(x) + image * p * c + first;
            float* to = floats(out) + image * 2 * c + first;
            __m512 sum = _mm512_setzero_ps(), squares = sum;
            for (int64_t i = 0; i < p; i++) sum = _mm512_add_ps(sum, ahead(from + i * c, c));
            __m512 mean = _mm512_mul_ps(sum, share);
            for (int64_t i = 0; i < p; i++) {
                __m512 off = _mm512_sub_ps(load(from + i * c), mean);
                squares = _mm512_fmadd_ps(off, off, squares);
            }
            _mm512_storeu_ps(to, mean);
            _mm512_storeu_ps(to + c, _mm512_sqrt_ps(_mm512_fmadd_ps(squares, share, _mm512_set1_ps(1e-6f))));
        }
    });
    return out;
}

torch::Tensor moments_backward(torch::Tensor x, torch::Tensor out, torch::Tensor gradient) {
    int64_t n = x.size(0), p = x.size(1), c = x.size(2);
    auto result = torch::empty_like(x);
    __m512 share = _mm512_set1_ps(1.f / p);
    at::parallel_for(0, n, 1, [&](int64_t begin, int64_t end) {
        for (int64_t task = begin * c; task < end * c; task += LANES) {
            int64_t image = task / c, first = task % c, at = image * p * c + first;
            const float *told = floats(out) + image * 2 * c + first, *wanted = floats(gradient) + image * 2 * c + first;
            __m512 mean = _mm512_loadu_ps(told), even = _mm512_mul_ps(_mm512_loadu_ps(wanted), share);
            __m512 slope = _mm512_div_ps(_mm512_mul_ps(_mm512_loadu_ps(wanted + c), share), _mm512_loadu_ps(told + c));
            for (int64_t i = 0; i < p; i++) {
                __m512 off = _mm512_sub_ps(ahead(bits(x) + at + i * c, c), mean);
                store(bits(result) + at + i * c, _mm512_fmadd_ps(slope, off, even));
            }
        }
    });
    return result;
}

PYBIND11_MODULE(TORCH_EXTENSION_NAME, module) {
    module.def("depthwise", &depthwise);
    module.def("depthwise_backward", &depthwise_backward);
    module.def("moments", &moments);
    module.def("moments_backward", &moments_backward);
}
