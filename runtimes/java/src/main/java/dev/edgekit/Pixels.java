package dev.edgekit;

/** A decoded picture: red, green and blue of each pixel, a byte each, row by row from the top. */
public final class Pixels {
    final byte[] rgb;
    final int width;
    final int height;

    /** {@code rgb} is not copied: it must stay as it is until the call that takes it returns. */
    public Pixels(byte[] rgb, int width, int height) {
        if (rgb == null || width < 1 || height < 1 || rgb.length != 3L * width * height) {
            String bytes = rgb == null ? "none" : String.valueOf(rgb.length);
            throw new BadInput("a picture of " + width + " x " + height + " pixels has 3 bytes for each, not " + bytes);
        }
        this.rgb = rgb;
        this.width = width;
        this.height = height;
    }
}
