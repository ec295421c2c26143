package dev.edgekit

import android.graphics.Bitmap

/** The bitmap's colours, whatever its configuration but HARDWARE; transparency is left out. */
fun Bitmap.toPixels(): Pixels {
    val row = IntArray(width)
    val rgb = ByteArray(3 * width * height)
    var at = 0
    for (y in 0 until height) {
        getPixels(row, 0, width, 0, y, width, 1)
        for (colour in row) {
            rgb[at++] = (colour shr 16).toByte()
            rgb[at++] = (colour shr 8).toByte()
            rgb[at++] = colour.toByte()
        }
    }
    return Pixels(rgb, width, height)
}
