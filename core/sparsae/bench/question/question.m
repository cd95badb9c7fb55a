function [W1grad, b1grad, W2grad, b2grad] = question(way, data, a2, a3, W2, rho, rhohat, beta)
  % Gradient sums of a sparse autoencoder, the way Matlab code of the time was written.
  % WAY is 'loop' (one sample after the other) or 'vectorised'.  Samples are rows; data is also the input layer.
  switch way
    case 'loop'
      [W1grad, b1grad, W2grad, b2grad] = by_sample(data, a2, a3, W2, rho, rhohat, beta);
    case 'vectorised'
      [W1grad, b1grad, W2grad, b2grad] = at_once(data, a2, a3, W2, rho, rhohat, beta);
    otherwise
      error('question:way', 'way must be loop or vectorised');
  end
end

function [W1grad, b1grad, W2grad, b2grad] = by_sample(data, a2, a3, W2, rho, rhohat, beta)
  [m, n] = size(data);
  p = size(a2, 2);
  W1grad = zeros(p, n);
  b1grad = zeros(p, 1);
  W2grad = zeros(n, p);
  b2grad = zeros(n, 1);
  for k = 1:m
    output = a3(k, :).';
    hidden = a2(k, :).';
    delta3 = (output - data(k, :).') .* output .* (1 - output);
    push = beta * ((1 - rho) ./ (1 - rhohat(:)) - rho ./ rhohat(:));   % made again for each sample, as it was asked
    delta2 = (W2.' * delta3 + push) .* hidden .* (1 - hidden);
    W1grad = W1grad + delta2 * data(k, :);
    W2grad = W2grad + delta3 * a2(k, :);
    b1grad = b1grad + delta2;
    b2grad = b2grad + delta3;
  end
end

function [W1grad, b1grad, W2grad, b2grad] = at_once(data, a2, a3, W2, rho, rhohat, beta)
  push = beta * ((1 - rho) ./ (1 - rhohat(:).') - rho ./ rhohat(:).');
  delta3 = (a3 - data) .* a3 .* (1 - a3);
  delta2 = bsxfun(@plus, delta3 * W2, push) .* a2 .* (1 - a2);
  W1grad = delta2.' * data;
  W2grad = delta3.' * a2;
  b1grad = sum(delta2, 1).';
  b2grad = sum(delta3, 1).';
end
