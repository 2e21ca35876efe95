"""The weights of a GGUF file in other formats: SOURCE.gguf OUT.gguf FORMAT, with the tools of llama.cpp's own project."""

import sys

import gguf
from gguf.quants import dequantize, quantize

source, out, name = sys.argv[1:]
kind = gguf.GGMLQuantizationType[name]
reader = gguf.GGUFReader(source)
architecture = reader.get_field("general.architecture").contents()
writer = gguf.GGUFWriter(out, architecture)
for field in reader.fields.values():
    # The writer says these itself.
    if field.name.startswith("GGUF.") or field.name in ("general.architecture", "general.file_type"):
        continue
    nested = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
    writer.add_key_value(field.name, field.contents(), field.types[0], sub_type=nested)
for tensor in reader.tensors:
    # Rows last, as numpy has it.
    values = dequantize(tensor.data, tensor.tensor_type).reshape(tuple(reversed(tensor.shape.tolist())))
    if values.ndim == 2 and values.shape[-1] % 32 == 0:
        writer.add_tensor(tensor.name, quantize(values, kind), raw_dtype=kind)
    else:
        writer.add_tensor(tensor.name, values)
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()
