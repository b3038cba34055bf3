// The socket, and what is known: the state, the notes, and which beat it is now.

const KEEP = 1500; // notes of a kind
const LINES = 30;
const ANSWERS = 50;

export class Store extends EventTarget {
  constructor() {
    super();
    this.kind = '';
    this.facts = {};
    this.state = {};
    this.scene = { beat: 0, bar: 4, tempo: 120, rolling: false, held: [], planned: [], chords: [] };
    this.heard = [];
    this.played = [];
    this.margins = [];
    this.lines = [];
    this.levels = [];
    this.spectra = []; // columns that just came
    this.answers = new Map(); // answer -> its takes by number
    this.connected = false;
    this._at = 0; // page time in ms at which it was beat `scene.beat`
    this._wait = 250;
    this.connect();
  }

  connect() {
    const token = new URLSearchParams(location.search).get('token') ?? '';
    const scheme = location.protocol === 'https:' ? 'wss' : 'ws';
    const socket = new WebSocket(`${scheme}://${location.host}/socket?token=${encodeURIComponent(token)}`);
    this.socket = socket;
    socket.onopen = () => {
      this.connected = true;
      this._wait = 250;
      this.tell('connection');
    };
    socket.onmessage = (event) => this.take(JSON.parse(event.data));
    socket.onclose = () => {
      this.connected = false;
      this.tell('connection');
      setTimeout(() => this.connect(), this._wait);
      this._wait = Math.min(this._wait * 2, 4000);
    };
  }

  /** Send a message such as {command: 'panic'}; what cannot be sent is lost, as a key is that nobody hears. */
  send(message) {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(message));
  }

  tell(what) {
    this.dispatchEvent(new CustomEvent(what));
  }

  take(message) {
    this.isNews = message.type === 'news';
    if (!this.isNews) {
      const again = this.kind === message.kind;
      this.kind = message.kind;
      this.facts = message.facts;
      this.state = {};
      for (const name of ['heard', 'played']) {
        // After a restart of the panel it remembers less than we do.
        if (!again || message[name].length) this[name] = [];
      }
      this.margins = [];
      this.lines = [];
      this.answers.clear();
      if (!again) this.tell('hello');
    }
    if (message.state) {
      Object.assign(this.state, message.state);
      this.tell('state');
    }
    if (message.scene && 'beat' in message.scene) this._follow(message.scene);
    for (const name of ['heard', 'played']) {
      if (message[name]?.length) this[name] = this[name].concat(message[name]).slice(-KEEP);
    }
    if (message.margins?.length) {
      this.margins = this.margins.concat(message.margins).slice(-64);
      this.tell('margins');
    }
    if (message.lines?.length) {
      this.lines = this.lines.concat(message.lines).slice(-LINES);
      this.tell('lines');
    }
    if (message.levels?.length) {
      this.levels = message.levels.at(-1);
      this.spectra = (message.spectra ?? []).map(atob);
      this.tell('levels');
    }
    if (message.takes?.length) {
      for (const take of message.takes) {
        const takes = this.answers.get(take.answer) ?? new Map();
        this.answers.set(take.answer, takes.set(take.number, take));
        if (this.answers.size > ANSWERS) this.answers.delete(this.answers.keys().next().value);
      }
      this.tell('takes');
    }
    if (message.scene) this.tell('scene');
  }

  _follow(scene) {
    const now = performance.now();
    const told = scene.beat + (scene.rolling ? (scene.age * scene.tempo) / 60 : 0);
    const off = told - this.beat(now);
    // Small differences are of the way here: the line must not tremble.
    const smooth = this.scene.rolling && scene.rolling && Math.abs(off) < 0.5;
    const beat = smooth ? this.beat(now) + 0.15 * off : told;
    this.scene = { ...scene, beat };
    this._at = now;
  }

  /** The session beat now, or at a page time in ms. */
  beat(now = performance.now()) {
    const { beat, tempo, rolling } = this.scene;
    return rolling ? beat + ((now - this._at) * tempo) / 60000 : beat;
  }

  /** The takes of the last answer. */
  get takes() {
    return [...this.answers.values()].at(-1) ?? new Map();
  }

  /** Where a take is as a MIDI file. */
  midi({ answer, number }) {
    const token = new URLSearchParams(location.search).get('token') ?? '';
    return new URL(`take.mid?token=${encodeURIComponent(token)}&answer=${answer}&take=${number}`, location.href).href;
  }

  get values() {
    return this.state.values ?? {};
  }

  /** A setting, or a parameter of an effect: effect.drums.1.room_size */
  valueOf(name) {
    const [kind, pair, number, parameter] = name.split('.');
    if (kind === 'effect') return this.state.effects?.[pair]?.[number - 1]?.parameters[parameter];
    return this.values[name] ?? this.state.part_values?.[name] ?? this.state.part_knobs?.[name]?.default;
  }

  get parts() {
    return this.state.parts ?? [];
  }
}
