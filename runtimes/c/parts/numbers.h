/* Numbers out of JSON and tensors, the same under every locale. */
#ifndef EDGEKIT_NUMBERS_H
#define EDGEKIT_NUMBERS_H

#include <math.h>
#include <string.h>

#include "../edgekit.h"
#include "json.h"

/* The number that stands in a JSON document, to within a unit or two of a double's last place: exact of whole numbers
 * below 2^53, and right of every float that was written with the digits it needs. NaN of anything else. */
static inline double json_number(const json_value *value) {
    if (!json_is(value, JSON_NUMBER)) return NAN;
    const char *at = value->source, *end = at + value->source_bytes;
    bool negative = *at == '-', fraction = false, down = false;
    uint64_t digits = 0;
    int exponent = 0, given = 0;
    for (at += negative; at < end && *at != 'e' && *at != 'E'; at++) {
        if (*at == '.') {
            fraction = true;
        } else if (digits < UINT64_MAX / 10 - 1) {
            digits = digits * 10 + (uint64_t)(*at - '0');
            exponent -= fraction;
        } else {
            exponent += !fraction;
        }
    }
    if (at < end) at++;
    if (at < end && (*at == '+' || *at == '-')) down = *at++ == '-';
    for (; at < end; at++) given = given < 100000 ? given * 10 + (*at - '0') : given;
    exponent += down ? -given : given;
    double found = (double)digits;
    if (digits != 0 && exponent < -300) {
        found = found * 1e-300 * pow(10, exponent + 300 < -400 ? -400 : exponent + 300);
    } else if (digits != 0) {
        found = exponent < 0 ? found / pow(10, -exponent) : found * pow(10, exponent);
    }
    return negative ? -found : found;
}

static inline double half_to_double(uint16_t half) {
    int exponent = half >> 10 & 31;
    double mantissa = half & 1023;
    double value = exponent == 31 ? (mantissa == 0 ? (double)INFINITY : (double)NAN)
                   : exponent == 0 ? ldexp(mantissa, -24)
                                   : ldexp(mantissa + 1024, exponent - 25);
    return half >> 15 ? -value : value;
}

/* To the nearest half, among equals the even one. */
static inline uint16_t half_of_double(double value) {
    uint16_t sign = signbit(value) ? 0x8000 : 0;
    double magnitude = fabs(value);
    int exponent = 0;
    if (isnan(value)) return 0x7E00;
    if (magnitude >= 65520) return (uint16_t)(sign | 0x7C00);
    if (magnitude < 0x1p-14) return (uint16_t)(sign | (uint16_t)nearbyint(ldexp(magnitude, 24)));
    frexp(magnitude, &exponent);
    uint16_t mantissa = (uint16_t)nearbyint(ldexp(magnitude, 11 - exponent)); /* 1024 to 2048: a carry is right too */
    return (uint16_t)(sign | (((unsigned)(exponent + 14) << 10) + mantissa - 1024));
}

#define DTYPE_CASES(X)                                                                                           \
    X(EDGEKIT_FLOAT32, float) X(EDGEKIT_FLOAT64, double) X(EDGEKIT_INT64, int64_t) X(EDGEKIT_INT32, int32_t)     \
    X(EDGEKIT_INT16, int16_t) X(EDGEKIT_INT8, int8_t) X(EDGEKIT_UINT64, uint64_t) X(EDGEKIT_UINT32, uint32_t)    \
    X(EDGEKIT_UINT16, uint16_t) X(EDGEKIT_UINT8, uint8_t) X(EDGEKIT_BOOL, uint8_t)

/* Value `index` of dense data; NaN of a type that has no numbers. The data need not be aligned. */
static inline double tensor_number(const void *data, edgekit_dtype dtype, size_t index) {
    const char *at = data;
#define READ(name, type)                                            \
    case name: {                                                    \
        type value;                                                 \
        memcpy(&value, at + index * sizeof value, sizeof value);    \
        return (double)value;                                       \
    }
    switch (dtype) {
        DTYPE_CASES(READ)
    case EDGEKIT_FLOAT16: {
        uint16_t half;
        memcpy(&half, at + index * sizeof half, sizeof half);
        return half_to_double(half);
    }
    }
#undef READ
    return NAN;
}

/* Write one number, known to be in the type's range. */
static inline void tensor_put(void *data, edgekit_dtype dtype, size_t index, double number, int64_t whole) {
    char *at = data;
#define WRITE(name, type)                                                                                  \
    case name: {                                                                                           \
        type value = (name) == EDGEKIT_FLOAT32 || (name) == EDGEKIT_FLOAT64 ? (type)number : (type)whole;  \
        memcpy(at + index * sizeof value, &value, sizeof value);                                           \
        return;                                                                                            \
    }
    switch (dtype) {
        DTYPE_CASES(WRITE)
    case EDGEKIT_FLOAT16: {
        uint16_t half = half_of_double(number);
        memcpy(at + index * sizeof half, &half, sizeof half);
        return;
    }
    }
#undef WRITE
}

#undef DTYPE_CASES

#endif
