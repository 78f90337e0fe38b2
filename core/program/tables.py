"""Generated from schema/model.fbs by tools/generate_tables.py: do not edit. See there for the notation."""

IDENTIFIER = b"TID1"

ENUMS = {
    "DType": 14,
    "Role": 7,
    "Place": 5,
    "DimOp": 10,
    "Target": 2,
    "StepKind": 2,
}

UNIONS = {
    "Attr": "Ints Floats Text Flag GraphRef",
}

STRUCTS = {
    "DimExpr": "op:DimOp a:u64 b:u64",
}

TABLES = {
    "Symbol": "name:name! min:u64=1 max:u64 multiple_of:u64=1",
    "Quant": "scale:[f32] zero_point:[i32] axis:i32=-1 block:u32",
    "Slice": "segment:u32 offset:u64 size:u64",
    "Tensor": "name:name dtype:DType shape:[u32] role:Role trainable:bool data:Slice quant:Quant",
    "Ints": "v:[i64]",
    "Floats": "v:[f64]",
    "Text": "v:text",
    "Flag": "v:bool",
    "GraphRef": "v:u32",
    "NamedAttr": "name:name! value:Attr",
    "OpCode": "name:name! version:u16=1",
    "Node": "op:u32 inputs:[i32] outputs:[i32] attrs:[NamedAttr] layer:name",
    "Graph": "name:name! inputs:[u32] outputs:[u32] nodes:[Node]",
    "Limit": "name:name! value:u64",
    "Range": "symbol:u32 min:u64 max:u64",
    "Requirement": "features:[name] limits:[Limit] when:[Range] equal:[u32]",
    "Kernel": "name:name! entry:name code:Slice hash:[u8] bindings:u8",
    "Region": "place:Place bytes:u32 storage:DType tensor:i32=-1 parent:i32=-1 offset:u32",
    "Step": "kind:StepKind kernel:u32 regions:[u32] grid:[u32] uniforms:[u32] scalars:[u32] flops:u32 writes:u8 "
        "count:u32 body:u32",
    "Program": "target:Target graph:i32=-1 requires:Requirement kernels:[Kernel] regions:[Region] steps:[Step] "
        "module:Slice",
    "Port": "name:name! tensor:u32 optional:bool fill:f64 min:i64 max:i64 bounded:bool",
    "Advance": "tensor:u32 by:u32",
    "Signature": "name:name! graph:i32=-1 programs:[u32] inputs:[Port] outputs:[Port] reads:[u32] writes:[u32] "
        "advance:[Advance]",
    "Segment": "offset:u64 size:u64 sha256:[u8]",
    "KeyValue": "key:name! value:text",
    "Model": "schema_version:u16 producer:name symbols:[Symbol] dims:[DimExpr] tensors:[Tensor] opcodes:[OpCode] "
        "graphs:[Graph] programs:[Program] signatures:[Signature] segments:[Segment] metadata:[KeyValue] "
        "base:[u8]",
}
