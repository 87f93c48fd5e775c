//! Functions that make much of little: one call may ask for more memory than a query gets, before anything counts it.

use std::any::Any;
use std::sync::Arc;

use arrow::array::{Array as _, AsArray as _};
use arrow::compute::cast;
use arrow::datatypes::{DataType, FieldRef, Int64Type};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::FunctionRegistry as _;
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
};
use datafusion::prelude::SessionContext;

/// What one call over a batch of rows may make.
const BYTES_MAX: i64 = 64 << 20;
/// Bytes of a letter, at most.
const LETTER_BYTES_MAX: i64 = 4;
/// Functions that make arrays as long as they are told to; the tables of the same names are counted, and stay.
const TAKEN_AWAY: [&str; 4] = ["range", "generate_series", "array_repeat", "array_resize"];
/// Functions that make texts as long as their second argument tells them to.
const BOUNDED: [&str; 3] = ["repeat", "lpad", "rpad"];

/// Takes away, or bounds, what could take all memory at once.
///
/// # Errors
/// When there is no such function any more.
pub fn bound(context: &SessionContext) -> Result<()> {
    for name in TAKEN_AWAY {
        context.deregister_udf(name);
    }
    for name in BOUNDED {
        let inner = context.udf(name)?;
        context.register_udf(ScalarUDF::from(Bounded { inner, repeats: name == "repeat" }));
    }
    Ok(())
}

/// A function whose answer has a bound.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Bounded {
    inner: Arc<ScalarUDF>,
    /// Whether its number counts the whole text, not letters.
    repeats: bool,
}

impl ScalarUDFImpl for Bounded {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn name(&self) -> &str {
        self.inner.name()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        self.inner.return_field_from_args(args)
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.coerce_types(types)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        if let [text, number, ..] = args.args.as_slice() {
            // One value for all rows is one row's worth unless the other argument is a column.
            let rows = match (text, number) {
                (ColumnarValue::Scalar(_), ColumnarValue::Scalar(_)) => 1,
                _ => args.number_rows,
            };
            let numbers = cast(&number.to_array(rows)?, &DataType::Int64)?;
            let numbers = numbers.as_primitive::<Int64Type>();
            let texts = cast(&text.to_array(rows)?, &DataType::LargeUtf8)?;
            let texts = texts.as_string::<i64>();
            let mut bytes = 0i64;
            for row in (0..rows).filter(|row| numbers.is_valid(*row) && texts.is_valid(*row)) {
                let each = if self.repeats { texts.value_length(row) } else { LETTER_BYTES_MAX };
                bytes = bytes.saturating_add(each.saturating_mul(numbers.value(row).max(0)));
            }
            if bytes > BYTES_MAX {
                return Err(DataFusionError::ResourcesExhausted(format!("{} would make {bytes} bytes", self.name())));
            }
        }
        self.inner.invoke_with_args(args)
    }
}
