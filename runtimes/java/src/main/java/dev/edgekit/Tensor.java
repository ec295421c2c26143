package dev.edgekit;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;

/**
 * Numbers with a shape: row-major, densely packed, little-endian.
 *
 * <p>What an app makes lies in direct memory, which native code reads without a copy; what {@link Session#run} gives, in
 * an array. A tensor shares its memory with {@link #data}; do not write to it while a call uses it.
 */
public final class Tensor {
    /** Most axes that a tensor has. */
    public static final int MAX_RANK = 8;

    private final DType dtype;
    private final long[] shape;
    private final ByteBuffer data;

    private Tensor(DType dtype, ByteBuffer data, long[] shape) {
        this.dtype = Checks.given("dtype", dtype);
        this.shape = Checks.given("shape", shape).clone();
        if (shape.length > MAX_RANK) {
            throw new BadInput("a tensor has " + shape.length + " axes, expected at most " + MAX_RANK);
        }
        if (data.remaining() != bytes(dtype, shape)) {
            throw new BadInput(
                    "a tensor of " + dtype.label() + " " + words(shape) + " does not have " + data.remaining() + " bytes");
        }
        this.data = data;
    }

    public static Tensor float32(float[] values, long... shape) {
        ByteBuffer data = allocate(Checks.given("values", values).length, 4);
        data.asFloatBuffer().put(values);
        return new Tensor(DType.FLOAT32, data, shape);
    }

    public static Tensor int64(long[] values, long... shape) {
        ByteBuffer data = allocate(Checks.given("values", values).length, 8);
        data.asLongBuffer().put(values);
        return new Tensor(DType.INT64, data, shape);
    }

    public static Tensor int32(int[] values, long... shape) {
        ByteBuffer data = allocate(Checks.given("values", values).length, 4);
        data.asIntBuffer().put(values);
        return new Tensor(DType.INT32, data, shape);
    }

    /** What remains in {@code data}, little-endian whatever its order says. Not copied if it is a direct buffer. */
    public static Tensor of(DType dtype, ByteBuffer data, long... shape) {
        ByteBuffer remaining = Checks.given("data", data).duplicate();
        if (!data.isDirect()) {
            ByteBuffer copy = allocate(remaining.remaining(), 1);
            copy.duplicate().put(remaining);
            return new Tensor(dtype, copy, shape);
        }
        return new Tensor(dtype, remaining.slice().order(ByteOrder.LITTLE_ENDIAN), shape);
    }

    static Tensor wrap(DType dtype, byte[] data, long[] shape) {
        return new Tensor(dtype, ByteBuffer.wrap(data).order(ByteOrder.LITTLE_ENDIAN), shape);
    }

    public DType dtype() {
        return dtype;
    }

    public long[] shape() {
        return shape.clone();
    }

    /** The shape itself, which nobody is to change. */
    long[] axes() {
        return shape;
    }

    /** The memory itself, from its start to its end, little-endian. Each call has a position of its own. */
    public ByteBuffer data() {
        return data.duplicate().order(ByteOrder.LITTLE_ENDIAN);
    }

    /** For native code: the memory itself, or a copy where that is an array. */
    ByteBuffer direct() {
        return data.isDirect() ? data : of(dtype, data, shape).data;
    }

    /** A copy; {@link BadInput} unless the tensor is float32. */
    public float[] floats() {
        float[] values = new float[elements(DType.FLOAT32)];
        data().asFloatBuffer().get(values);
        return values;
    }

    /** A copy; {@link BadInput} unless the tensor is int64. */
    public long[] longs() {
        long[] values = new long[elements(DType.INT64)];
        data().asLongBuffer().get(values);
        return values;
    }

    /** A copy; {@link BadInput} unless the tensor is int32. */
    public int[] ints() {
        int[] values = new int[elements(DType.INT32)];
        data().asIntBuffer().get(values);
        return values;
    }

    @Override
    public String toString() {
        return dtype.label() + " " + words(shape);
    }

    private static ByteBuffer allocate(long count, int bytesEach) {
        if (count > Integer.MAX_VALUE / bytesEach) {
            throw new BadInput(count + " elements of " + bytesEach + " bytes do not fit the 2 GiB of a Java buffer");
        }
        return ByteBuffer.allocateDirect((int) count * bytesEach).order(ByteOrder.LITTLE_ENDIAN);
    }

    private int elements(DType wanted) {
        if (dtype != wanted) {
            throw new BadInput("a tensor is " + dtype.label() + ", not " + wanted.label() + ": read its data()");
        }
        return data.capacity() / wanted.bytes;
    }

    /** -1 where the shape is none, or comes to more than any buffer holds. */
    private static long bytes(DType dtype, long[] shape) {
        long bytes = dtype.bytes;
        boolean empty = false;
        for (long axis : shape) {
            if (axis < 0) {
                return -1;
            }
            empty |= axis == 0;
        }
        for (long axis : shape) {
            if (!empty && bytes > Integer.MAX_VALUE / axis) {
                return -1;
            }
            bytes *= axis;
        }
        return empty ? 0 : bytes;
    }

    private static String words(long[] shape) {
        StringBuilder words = new StringBuilder("[");
        for (int axis = 0; axis < shape.length; axis++) {
            words.append(axis > 0 ? ", " : "").append(shape[axis]);
        }
        return words.append("]").toString();
    }
}
