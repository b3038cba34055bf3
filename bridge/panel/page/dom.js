// Small helpers for elements: no framework, and nothing is ever set as HTML, since names of files and ports may hold anything.

/** Make an element: h('button', {class: 'big', onclick: f}, 'Panic'). */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (name in element && typeof value !== 'string') element[name] = value;
    else element.setAttribute(name, value === true ? '' : value);
  }
  element.append(...children.filter((child) => child !== undefined && child !== null));
  return element;
}

/** Write a text only where it differs: a screen reader is not told the same again. */
export function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** A button that binds the next controller that is moved; `told(state, name)` shows what is bound, or that it waits. */
export function learner(store, what) {
  const button = h('button', { type: 'button', class: 'learn', title: 'Bind the next controller you move' });
  button.told = (name) => {
    const { controllers = {}, learning } = store.state;
    const bound = Object.entries(controllers).find(([, target]) => target === name);
    button.onclick = () => store.send({ learn: name });
    button.classList.toggle('waits', learning === name);
    write(button, learning === name ? 'Move it …' : bound ? `CC ${bound[0]}` : 'Learn');
    button.setAttribute('aria-label', `Learn a controller for ${what()}${learning === name ? ': move it' : bound ? `; now ${bound[0]}` : ''}`);
  };
  return button;
}

/** A canvas that is as sharp as the screen. Returns its context, and its size in CSS pixels. */
export function sharp(canvas) {
  const scale = window.devicePixelRatio || 1;
  const width = canvas.clientWidth, height = canvas.clientHeight;
  if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
  }
  const context = canvas.getContext('2d');
  context.setTransform(scale, 0, 0, scale, 0, 0);
  return { context, width, height };
}

/** Colours of the style sheet, by the name of their variable; read anew when light and dark change. */
export const colours = new Proxy({}, {
  get(found, name) {
    found[name] ??= getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim() || '#888';
    return found[name];
  },
  deleteProperty(found) {
    for (const name of Object.keys(found)) delete found[name];
    return true;
  },
});
matchMedia('(prefers-color-scheme: light)').addEventListener('change', () => delete colours.all);

export const partColour = (part) => colours[`part-${part % 6}`];

/** What is sent while a control is being dragged: the newest, twenty times a second at most. */
export function sparing(send) {
  let waiting = null, timer = 0;
  return (message) => {
    if (timer) {
      waiting = message;
      return;
    }
    send(message);
    timer = setTimeout(function next() {
      timer = 0;
      if (waiting) {
        send(waiting);
        waiting = null;
        timer = setTimeout(next, 50);
      }
    }, 50);
  };
}
