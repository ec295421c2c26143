package android.graphics;

/** Of Android's class what BitmapPixels.kt uses: a desktop has none. */
public final class Bitmap {
    private final int[] colours;
    private final int width;

    public Bitmap(int[] colours, int width) {
        this.colours = colours;
        this.width = width;
    }

    public int getWidth() {
        return width;
    }

    public int getHeight() {
        return colours.length / width;
    }

    public void getPixels(int[] pixels, int offset, int stride, int x, int y, int columns, int rows) {
        for (int row = 0; row < rows; row++) {
            System.arraycopy(colours, (y + row) * width + x, pixels, offset + row * stride, columns);
        }
    }
}
