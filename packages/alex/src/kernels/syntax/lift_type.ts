// Types as they are written in annotations, as far as kernels can use them: names with arguments, literals, tuples and
// `typeof NAME`. What else TypeScript has is "other", which only the compiler of TypeScript can resolve.

import type { TypeSyntax } from "./ast.ts";
import { child, children, identifierName, spanOf } from "./estree.ts";
import type { EstreeNode } from "./estree.ts";

const KEYWORDS: Readonly<Record<string, string>> = {
  TSNumberKeyword: "number",
  TSBooleanKeyword: "boolean",
  TSVoidKeyword: "void",
};

const DEPTH_MAX = 32;

/** Lifts a type, or the annotation that holds it. Never throws. */
export function liftType(node: EstreeNode, depth = 0): TypeSyntax {
  const span = spanOf(node);
  const other: TypeSyntax = { kind: "other", span };
  if (depth > DEPTH_MAX) return other;
  const keyword = KEYWORDS[node.type];
  if (keyword !== undefined) return { kind: "reference", name: keyword, args: [], span };
  const inner = (field: string): TypeSyntax => {
    const found = child(node, field);
    return found === undefined ? other : liftType(found, depth + 1);
  };
  switch (node.type) {
    case "TSTypeAnnotation":
    case "TSParenthesizedType":
      return inner("typeAnnotation");
    case "TSTypeOperator":
      return node.operator === "readonly" ? inner("typeAnnotation") : other;
    case "TSTypeReference": {
      const name = qualifiedName(child(node, "typeName"));
      const holder = child(node, "typeArguments");
      const args = holder === undefined ? [] : children(holder, "params").map((param) => liftType(param, depth + 1));
      return name === undefined ? other : { kind: "reference", name, args, span };
    }
    case "TSLiteralType": {
      const literal = child(node, "literal");
      if (typeof literal?.value === "number") return { kind: "number", value: literal.value, span };
      if (typeof literal?.value === "string") return { kind: "string", value: literal.value, span };
      return other;
    }
    case "TSTupleType":
      return {
        kind: "tuple",
        items: children(node, "elementTypes").map((item) => liftType(item, depth + 1)),
        span,
      };
    case "TSNamedTupleMember":
      return inner("elementType");
    case "TSTypeQuery": {
      const name = identifierName(child(node, "exprName"));
      return name === undefined ? other : { kind: "typeof", name, span };
    }
    default:
      return other;
  }
}

/** `Vector`, or `kernels.Vector` as `Vector`: the namespace that a name was imported under says nothing here. */
function qualifiedName(node: EstreeNode | undefined): string | undefined {
  if (node?.type === "TSQualifiedName") return identifierName(child(node, "right"));
  return identifierName(node);
}
