// Generated from core/program/schema/model.fbs by tools/generate_tables.py: do not edit.

export const IDENTIFIER = "TID1";

export const DType = {
  F32: 0, F16: 1, BF16: 2, F64: 3, I8: 4, U8: 5, I16: 6, U16: 7, I32: 8, U32: 9, I64: 10, U64: 11,
  BOOL: 12, STRING: 13
};
export const Role = { VALUE: 0, CONSTANT: 1, WEIGHT: 2, OPTIMIZER_SLOT: 3, METRIC: 4, COUNTER: 5, RNG: 6 };
export const Place = { SCRATCH: 0, STATE: 1, CONSTANT: 2, INPUT: 3, OUTPUT: 4 };
export const DimOp = {
  CONST: 0, SYMBOL: 1, ADD: 2, SUB: 3, MUL: 4, FLOORDIV: 5, CEILDIV: 6, MOD: 7, MIN: 8, MAX: 9
};
export const Target = { WGSL: 0, WASM: 1 };
export const StepKind = { DISPATCH: 0, LOOP: 1 };

/** How many values each enum has. */
export const ENUMS = {
  DType: 14,
  Role: 7,
  Place: 5,
  DimOp: 10,
  Target: 2,
  StepKind: 2,
};

export const UNIONS = {
  Attr: "Ints Floats Text Flag GraphRef",
};

export const STRUCTS = {
  DimExpr: "op:DimOp a:u64 b:u64",
};

export const TABLES = {
  Symbol: "name:name! min:u64=1 max:u64 multiple_of:u64=1",
  Quant: "scale:[f32] zero_point:[i32] axis:i32=-1 block:u32",
  Slice: "segment:u32 offset:u64 size:u64",
  Tensor: "name:name dtype:DType shape:[u32] role:Role trainable:bool data:Slice quant:Quant",
  Ints: "v:[i64]",
  Floats: "v:[f64]",
  Text: "v:text",
  Flag: "v:bool",
  GraphRef: "v:u32",
  NamedAttr: "name:name! value:Attr",
  OpCode: "name:name! version:u16=1",
  Node: "op:u32 inputs:[i32] outputs:[i32] attrs:[NamedAttr] layer:name",
  Graph: "name:name! inputs:[u32] outputs:[u32] nodes:[Node]",
  Limit: "name:name! value:u64",
  Range: "symbol:u32 min:u64 max:u64",
  Requirement: "features:[name] limits:[Limit] when:[Range] equal:[u32]",
  Kernel: "name:name! entry:name code:Slice hash:[u8] bindings:u8",
  Region: "place:Place bytes:u32 storage:DType tensor:i32=-1 parent:i32=-1 offset:u32",
  Step: "kind:StepKind kernel:u32 regions:[u32] grid:[u32] uniforms:[u32] scalars:[u32] flops:u32 writes:u8 " +
    "count:u32 body:u32",
  Program: "target:Target graph:i32=-1 requires:Requirement kernels:[Kernel] regions:[Region] steps:[Step] " +
    "module:Slice",
  Port: "name:name! tensor:u32 optional:bool fill:f64 min:i64 max:i64 bounded:bool",
  Advance: "tensor:u32 by:u32",
  Signature: "name:name! graph:i32=-1 programs:[u32] inputs:[Port] outputs:[Port] reads:[u32] writes:[u32] " +
    "advance:[Advance]",
  Segment: "offset:u64 size:u64 sha256:[u8]",
  KeyValue: "key:name! value:text",
  Model: "schema_version:u16 producer:name symbols:[Symbol] dims:[DimExpr] tensors:[Tensor] opcodes:[OpCode] " +
    "graphs:[Graph] programs:[Program] signatures:[Signature] segments:[Segment] metadata:[KeyValue] " +
    "base:[u8]",
};
