/**
 * Renders trees of elements into the document, and changes only what differs from the last rendering.
 *
 * A view is a function that returns a tree made with `h`. Rendering it again keeps the elements, and so the focus, what
 * was typed, and the scroll position. Text is always set as text, never as HTML.
 *
 * @typedef {string | number | boolean | null | undefined | VNode} Child
 * @typedef {{tag: string, props: Record<string, any>, key: string | null, children: (VNode | string)[]}} VNode
 */

const SVG_NAMESPACE = "http://www.w3.org/2000/svg";

/** Properties that are set on the element, since the attribute of that name is only the initial value. */
const ELEMENT_PROPERTIES = new Set(["value", "checked", "indeterminate"]);

/** @type {WeakMap<Node, VNode>} */
const rendered = new WeakMap();

/**
 * Return a node of a tree.
 *
 * @param {string} tag
 * @param {Record<string, any> | null} [props] Attributes; `on…` are event listeners, `style` is an object of CSS
 *   properties, `key` identifies the node among its siblings, `oncreate` is called once with the new element.
 * @param {...(Child | Child[])} children
 * @returns {VNode}
 */
export function h(tag, props, ...children) {
  const { key = null, ...rest } = props ?? {};
  const flat = /** @type {Child[]} */ (children.flat(Infinity));
  const kept = flat.filter((child) => child !== null && child !== undefined && child !== false && child !== true);
  return {
    tag,
    props: rest,
    key: key === null ? null : String(key),
    children: kept.map((child) => (typeof child === "object" ? /** @type {VNode} */ (child) : String(child))),
  };
}

/**
 * Make the children of an element equal to the given trees.
 *
 * @param {Element} container
 * @param {...(Child | Child[])} children
 */
export function render(container, ...children) {
  patchChildren(container, h("root", null, ...children).children);
}

/**
 * @param {Element} parent
 * @param {(VNode | string)[]} wanted
 */
function patchChildren(parent, wanted) {
  const keyed = keyedChildren(parent);
  let next = parent.firstChild;
  for (const node of wanted) {
    let found = reusable(next, node, keyed);
    if (found === null) {
      found = create(node, parent);
      parent.insertBefore(found, next);
    } else if (found === next) {
      next = next.nextSibling;
    } else {
      parent.insertBefore(found, next);
    }
    patch(found, node);
  }
  while (next !== null) {
    const after = next.nextSibling;
    next.remove();
    next = after;
  }
}

/** @param {Element} parent */
function keyedChildren(parent) {
  /** @type {Map<string, Node>} */
  const keyed = new Map();
  for (const child of parent.childNodes) {
    const key = rendered.get(child)?.key;
    if (key) keyed.set(key, child);
  }
  return keyed;
}

/**
 * @param {ChildNode | null} next The next child in place.
 * @param {VNode | string} node
 * @param {Map<string, Node>} keyed
 * @returns {ChildNode | null} The existing child that can become `node`.
 */
function reusable(next, node, keyed) {
  if (typeof node === "string") return next?.nodeType === Node.TEXT_NODE ? next : null;
  if (node.key !== null) {
    const found = /** @type {ChildNode | undefined} */ (keyed.get(node.key));
    return found !== undefined && rendered.get(found)?.tag === node.tag ? found : null;
  }
  const known = next === null ? undefined : rendered.get(next);
  return known !== undefined && known.key === null && known.tag === node.tag ? next : null;
}

/**
 * @param {VNode | string} node
 * @param {Element} parent
 * @returns {ChildNode}
 */
function create(node, parent) {
  if (typeof node === "string") return document.createTextNode(node);
  const inSvg =
    node.tag === "svg" || (parent.namespaceURI === SVG_NAMESPACE && parent.tagName !== "foreignObject");
  const element = inSvg ? document.createElementNS(SVG_NAMESPACE, node.tag) : document.createElement(node.tag);
  rendered.set(element, { tag: node.tag, props: {}, key: node.key, children: [] });
  node.props.oncreate?.(element);
  return element;
}

/**
 * @param {ChildNode} existing
 * @param {VNode | string} node
 */
function patch(existing, node) {
  if (typeof node === "string") {
    if (existing.nodeValue !== node) existing.nodeValue = node;
    return;
  }
  const element = /** @type {HTMLElement} */ (existing);
  const before = rendered.get(element)?.props ?? {};
  for (const name of Object.keys(before)) {
    if (!(name in node.props)) setProp(element, name, null, before[name]);
  }
  // The children first: the value of a <select> needs its options.
  patchChildren(element, node.children);
  for (const [name, value] of Object.entries(node.props)) setProp(element, name, value, before[name]);
  rendered.set(element, node);
}

/**
 * @param {HTMLElement} element
 * @param {string} name
 * @param {any} value
 * @param {any} before
 */
function setProp(element, name, value, before) {
  if (name === "oncreate") return;
  if (name.startsWith("on")) {
    if (value === before) return;
    if (before) element.removeEventListener(name.slice(2), before);
    if (value) element.addEventListener(name.slice(2), value);
  } else if (name === "style") {
    setStyle(element, value ?? {}, before ?? {});
  } else if (ELEMENT_PROPERTIES.has(name)) {
    // Only a change of the view's own value: what the user has typed meanwhile stays.
    if (value !== before) /** @type {any} */ (element)[name] = value;
  } else if (value === null || value === undefined || value === false) {
    if (before !== value) element.removeAttribute(name);
  } else if (value !== before) {
    element.setAttribute(name, value === true ? "" : String(value));
  }
}

/**
 * @param {HTMLElement} element
 * @param {Record<string, string>} style
 * @param {Record<string, string>} before
 */
function setStyle(element, style, before) {
  for (const name of Object.keys(before)) {
    if (!(name in style)) element.style.removeProperty(name);
  }
  for (const [name, value] of Object.entries(style)) {
    // CSSOM, which the content security policy allows, unlike a style attribute.
    if (value !== before[name]) element.style.setProperty(name, value);
  }
}
