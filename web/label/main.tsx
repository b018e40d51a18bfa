import { render } from 'preact';
import { App } from './app.js';
import './style.css';

// The key is in a cookie now; it should not stay in the address, which people share.
if (location.search !== '') history.replaceState(null, '', location.pathname + location.hash);
render(<App />, document.getElementById('app')!);
