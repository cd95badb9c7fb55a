// Browsers start no workers on pages that were opened as files: there the search runs in a hidden frame.
// The interface is that of Worker, as far as the site's theme uses it.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      this.waiting = [];
      this.ready = false;
      this.onmessage = null;
      const start = () => {
        this.frame = document.createElement("iframe");
        this.frame.hidden = true;
        document.body.append(this.frame);
        const scope = this.frame.contentWindow;
        scope.postMessage = (data) => this.deliver(this, data);
        scope.importScripts = () => {};
        this.scope = scope;
        const script = this.frame.contentDocument.createElement("script");
        script.src = url;
        script.onload = () => {
          this.ready = true;
          this.waiting.splice(0).forEach((data) => this.deliver(scope, data));
        };
        this.frame.contentDocument.body.append(script);
      };
      document.body ? start() : addEventListener("DOMContentLoaded", start);
    }

    deliver(goal, data) {
      setTimeout(() => goal.dispatchEvent(new MessageEvent("message", { data })));
    }

    postMessage(data) {
      this.ready ? this.deliver(this.scope, data) : this.waiting.push(data);
    }

    terminate() {
      this.frame?.remove();
    }
  };
}
