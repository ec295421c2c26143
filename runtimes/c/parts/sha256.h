/* SHA-256 (FIPS 180-4) of a file. */
#ifndef EDGEKIT_SHA256_H
#define EDGEKIT_SHA256_H

#include <stdint.h>
#include <stdio.h>
#include <string.h>

static const uint32_t sha256_k[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

typedef struct sha256_state {
    uint32_t hash[8];
    uint64_t bytes;
    unsigned char block[64];
} sha256_state;

#define SHA256_ROTATE(x, n) ((x) >> (n) | (x) << (32 - (n)))

static void sha256_block(uint32_t hash[8], const unsigned char *block) {
    uint32_t w[64], s[8];
    for (int t = 0; t < 16; t++) {
        const unsigned char *word = block + 4 * t;
        w[t] = (uint32_t)word[0] << 24 | (uint32_t)word[1] << 16 | (uint32_t)word[2] << 8 | word[3];
    }
    for (int t = 16; t < 64; t++) {
        uint32_t a = SHA256_ROTATE(w[t - 15], 7) ^ SHA256_ROTATE(w[t - 15], 18) ^ w[t - 15] >> 3;
        uint32_t b = SHA256_ROTATE(w[t - 2], 17) ^ SHA256_ROTATE(w[t - 2], 19) ^ w[t - 2] >> 10;
        w[t] = w[t - 16] + a + w[t - 7] + b;
    }
    memcpy(s, hash, sizeof s);
    for (int t = 0; t < 64; t++) {
        uint32_t e1 = SHA256_ROTATE(s[4], 6) ^ SHA256_ROTATE(s[4], 11) ^ SHA256_ROTATE(s[4], 25);
        uint32_t one = s[7] + e1 + ((s[4] & s[5]) ^ (~s[4] & s[6])) + sha256_k[t] + w[t];
        uint32_t e0 = SHA256_ROTATE(s[0], 2) ^ SHA256_ROTATE(s[0], 13) ^ SHA256_ROTATE(s[0], 22);
        uint32_t two = e0 + ((s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]));
        memmove(s + 1, s, 7 * sizeof s[0]);
        s[4] += one;
        s[0] = one + two;
    }
    for (int t = 0; t < 8; t++) hash[t] += s[t];
}

static void sha256_start(sha256_state *state) {
    static const uint32_t start[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                      0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    memcpy(state->hash, start, sizeof start);
    state->bytes = 0;
}

static void sha256_add(sha256_state *state, const unsigned char *data, size_t bytes) {
    size_t held = state->bytes % 64;
    state->bytes += bytes;
    if (held > 0) {
        size_t taken = bytes < 64 - held ? bytes : 64 - held;
        memcpy(state->block + held, data, taken);
        data += taken, bytes -= taken;
        if (held + taken < 64) return;
        sha256_block(state->hash, state->block);
    }
    for (; bytes >= 64; data += 64, bytes -= 64) sha256_block(state->hash, data);
    if (bytes > 0) memcpy(state->block, data, bytes);
}

/* 64 lower-case hexadecimal digits and a zero. */
static void sha256_end(sha256_state *state, char digits[65]) {
    static const unsigned char padding[64] = {0x80};
    unsigned char length[8];
    for (int index = 0; index < 8; index++) length[index] = (unsigned char)(state->bytes * 8 >> (56 - 8 * index));
    size_t held = state->bytes % 64;
    sha256_add(state, padding, held < 56 ? 56 - held : 120 - held);
    sha256_add(state, length, 8);
    for (int index = 0; index < 8; index++) snprintf(digits + 8 * index, 9, "%08x", (unsigned)state->hash[index]);
}

#endif
